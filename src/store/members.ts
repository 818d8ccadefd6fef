import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureMemberId, ensureNodeId } from '../core/ids.ts'
import { ensureJurisdiction } from '../core/jurisdiction.ts'
import type { Federation, Invitation, Member, Node } from '../gen/prisma/client.ts'
import { signatureSchema } from '../model/parsing.ts'
import { NODE_STATUSES } from '../policy/membership.ts'
import { parseStored } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { FederationRow, InvitationRow, MemberRow, NodeRow } from './records.ts'
import type { Tx } from './store.ts'

type Reads = Pick<Reader, 'federation' | 'node' | 'nodes' | 'member' | 'members' | 'keyChanges'>
type Writes = Pick<
  Tx,
  | 'createFederation'
  | 'ensureMember'
  | 'createInvitation'
  | 'invitation'
  | 'useInvitation'
  | 'createNode'
  | 'setNodeStatus'
  | 'setPaused'
  | 'setDeparture'
  | 'addKeyChange'
>

const Status = z.enum(NODE_STATUSES)
const Signatures = z.array(signatureSchema)
const Place = z.string().transform((text) => ensureJurisdiction(text))

/** Who belongs to the federation: questions. */
export function memberReads(database: Database): Reads {
  return {
    federation: async () => {
      const row = await database.federation.findFirst()
      return row === null ? undefined : federationRow(row)
    },
    node: async (id) => {
      const row = await database.node.findUnique({ where: { id } })
      return row === null ? undefined : nodeRow(row)
    },
    nodes: async () => {
      const rows = await database.node.findMany({ orderBy: { id: 'asc' } })
      return rows.map(nodeRow)
    },
    keyChanges: async (id) => {
      const rows = await database.keyRecord.findMany({ where: { nodeId: id }, orderBy: { number: 'asc' } })
      return rows.map(({ record, signatures }) => {
        return { text: record, signatures: parseStored(Signatures, signatures, 'signatures of a key record') }
      })
    },
    member: async (id) => {
      const row = await database.member.findUnique({ where: { id } })
      return row === null ? undefined : memberRow(row)
    },
    members: async () => {
      const rows = await database.member.findMany({ orderBy: { id: 'asc' } })
      return rows.map(memberRow)
    },
  }
}

/** Who belongs to the federation: changes. */
export function memberWrites(database: Database): Writes {
  return {
    createFederation: async (row) => {
      const others = await database.federation.count()
      if (others > 0) throw new TapestryError('ALREADY_EXISTS', 'this database already belongs to a federation')
      await database.federation.createMany({ data: [{ ...row, createdAt: new Date(row.createdAt) }] })
    },
    ensureMember: async (id, now, jurisdiction) => {
      await database.member.createMany({ data: [{ id, createdAt: new Date(now) }], skipDuplicates: true })
      if (jurisdiction === undefined) return
      const same = { id, OR: [{ jurisdiction: null }, { jurisdiction }] }
      const declared = await database.member.updateMany({ where: same, data: { jurisdiction } })
      if (declared.count === 0) {
        throw new TapestryError(
          'FAILED_PRECONDITION',
          `another jurisdiction than ${jurisdiction} was declared for ${id}`,
        )
      }
    },
    createInvitation: async (row, now) => {
      const { secretHash, member, usedBy } = row
      const data = {
        secretHash,
        memberId: member,
        usedBy,
        expiresAt: new Date(row.expiresAt),
        createdAt: new Date(now),
      }
      await database.invitation.createMany({ data: [data] })
    },
    invitation: async (secretHash) => {
      const row = await database.invitation.findUnique({ where: { secretHash } })
      return row === null ? undefined : invitationRow(row)
    },
    useInvitation: async (secretHash, node, now) => {
      const unused = { secretHash, usedBy: null }
      const used = await database.invitation.updateMany({
        where: unused,
        data: { usedBy: node, usedAt: new Date(now) },
      })
      if (used.count === 0) throw new TapestryError('INVITATION_USED', 'the invitation has been used')
    },
    createNode: async (row) => {
      const { id, member, name, genesis, publicKey } = row
      const enrolledAt = new Date(row.enrolledAt)
      await database.node.createMany({
        data: [{ id, memberId: member, name, genesis, publicKey, status: 'active', enrolledAt }],
      })
    },
    setNodeStatus: async (id, status, reason, now) => {
      const data = { status, statusReason: reason, statusSince: new Date(now) }
      await database.node.update({ where: { id }, data })
    },
    setPaused: async (id, since) => {
      await database.node.update({ where: { id }, data: { pausedAt: since === null ? null : new Date(since) } })
    },
    setDeparture: async (id, { text, signature }) => {
      await database.node.update({ where: { id }, data: { departure: text, departureSignature: signature.value } })
    },
    addKeyChange: async (id, number, nodeKey, { text, signatures }, now) => {
      const at = new Date(now)
      const data = { nodeId: id, number, record: text, signatures: signatures.map((one) => ({ ...one })), at }
      await database.keyRecord.createMany({ data: [data] })
      await database.node.update({ where: { id }, data: { publicKey: nodeKey, keyChanges: number, keysSince: at } })
    },
  }
}

function federationRow({ id, name, record, signature, createdAt }: Federation): FederationRow {
  return { id: ensureFederationId(id), name, record, signature, createdAt: createdAt.getTime() }
}

function memberRow({ id, jurisdiction }: Member): MemberRow {
  const place = jurisdiction === null ? null : parseStored(Place, jurisdiction, 'jurisdiction')
  return { id: ensureMemberId(id), jurisdiction: place }
}

function invitationRow(row: Invitation): InvitationRow {
  return {
    secretHash: row.secretHash,
    member: ensureMemberId(row.memberId),
    expiresAt: row.expiresAt.getTime(),
    usedBy: row.usedBy === null ? null : ensureNodeId(row.usedBy),
  }
}

function nodeRow(row: Node): NodeRow {
  return {
    id: ensureNodeId(row.id),
    member: ensureMemberId(row.memberId),
    name: row.name,
    genesis: row.genesis,
    publicKey: row.publicKey,
    status: parseStored(Status, row.status, 'node status'),
    statusSince: row.statusSince?.getTime() ?? null,
    statusReason: row.statusReason,
    pausedAt: row.pausedAt?.getTime() ?? null,
    keyChanges: row.keyChanges,
    keysSince: row.keysSince?.getTime() ?? null,
    enrolledAt: row.enrolledAt.getTime(),
  }
}
