import type { Context } from '../context.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { MemberId } from '../core/ids.ts'
import type { EnrollRequest } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { nodeIdOf, parseGenesis } from '../identity/genesis.ts'
import { secretHash } from '../identity/invitation.ts'
import { requireNode } from '../store/membership.ts'
import type { NewNodeRow, NodeRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { type CertificateIssuer, issueFor } from './certificate.ts'
import { signatureOf } from './message.ts'

/**
 * Redeems an invitation: the secret admits one node, which proves that it holds the keys it
 * names. The same node may repeat the call, because an answer can get lost.
 */
export async function enroll(context: Context, issuer: CertificateIssuer, request: EnrollRequest) {
  if (request.federation !== context.federation) {
    throw new TapestryError('WRONG_FEDERATION', `this coordinator serves ${context.federation}`)
  }
  const genesis = parseGenesis(request.genesis, signatureOf(request.genesisSignature))
  const now = context.clock.now()
  const node = await context.store.transact('enroll', (tx) =>
    admit(tx, secretHash(request.invitationSecret), now, (member) => ({
      id: nodeIdOf(request.genesis),
      member,
      name: genesis.name,
      genesis: Buffer.from(request.genesis).toString('utf8'),
      publicKey: genesis.nodeKey,
      enrolledAt: now,
    })),
  )
  if (node.status !== 'active') throw new TapestryError('PERMISSION_DENIED', `this node is ${node.status}`)
  const certificate = await issueFor(context, issuer, node, request)
  return { node: node.id, member: node.member, certificate }
}

async function admit(tx: Tx, hash: string, now: number, rowFor: (member: MemberId) => NewNodeRow): Promise<NodeRow> {
  const invitation = await tx.invitation(hash)
  if (invitation === undefined) throw new TapestryError('INVITATION_INVALID', 'no such invitation was made here')
  const row = rowFor(invitation.member)
  const known = await tx.node(row.id)
  // The node that used it may come back at any time: its certificate may have ended while it was away.
  if (invitation.usedBy === row.id && known !== undefined) return known
  if (now >= invitation.expiresAt) {
    throw new TapestryError('INVITATION_EXPIRED', 'the invitation has expired', {
      hint: 'ask the operator for a new one',
    })
  }
  if (invitation.usedBy !== null) throw new TapestryError('INVITATION_USED', 'the invitation has been used')
  if (known !== undefined) throw new TapestryError('ALREADY_EXISTS', `${row.id} has enrolled before`)
  await tx.createNode(row)
  await tx.useInvitation(hash, row.id, now)
  const { id: node, member } = row
  await tx.appendToLedger({ type: 'enrolment', node, member, genesis: digestOf(row.genesis) }, now)
  return requireNode(tx, node)
}
