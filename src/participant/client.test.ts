import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { systemClock } from '../core/clock.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, type NodeId } from '../core/ids.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import { createAuthority, issueClientCertificate } from '../identity/certificate-authority.ts'
import { nodeIdOf, parseGenesis } from '../identity/genesis.ts'
import { createInvitation } from '../identity/invitation.ts'
import { openNodeClient } from './client.ts'
import { joinFederation } from './enrolment.ts'
import { createNodeDirectory, type NodeDirectory } from './node-directory.ts'
import { requestCertificate, tlsPem } from './tls-credential.ts'

const withCode = (code: string) => expect.objectContaining({ code })
const HOUR = 3_600_000
const SECRET = Buffer.alloc(32, 7)

let fake: FakeCoordinator
let directory: NodeDirectory
let parent: string
let invitation: string
/** What the coordinator was asked. */
let asked: string[]
/** What the coordinator does with an enrolment; a test may change it. */
let issue: (request: Uint8Array, node: NodeId) => Promise<string>

beforeEach(async () => {
  asked = []
  fake = await FakeCoordinator.create()
  issue = (request, node) => issueClientCertificate(fake.authority, request, { kind: 'node', node }, Date.now())
  fake.unary(EnrollmentService, {
    enroll: async ({ genesis, genesisSignature, invitationSecret, certificateRequest }) => {
      const signature = { keyId: genesisSignature?.keyId ?? '', value: base64(genesisSignature?.value) }
      parseGenesis(genesis, signature)
      const node = nodeIdOf(genesis)
      asked.push(`enroll ${node}`)
      if (!SECRET.equals(invitationSecret)) throw new TapestryError('INVITATION_INVALID', 'no such invitation')
      return { node, member: 'archive', certificate: await issue(certificateRequest, node) }
    },
    renewCertificate: async ({ certificateRequest }, node) => {
      asked.push(`renew ${node}`)
      const { membership } = await directory.read()
      if (membership === undefined || node !== membership.node) throw new TapestryError('UNAUTHENTICATED', 'who?')
      return { certificate: await issue(certificateRequest, membership.node) }
    },
  })
  fake.unary(ModelService, {
    listChannels: (_, node) => {
      asked.push(`list ${node}`)
      return {}
    },
  })
  await fake.listen()
  parent = await mkdtemp(join(tmpdir(), 'tapestry-client-'))
  directory = await createNodeDirectory(join(parent, 'node'), { name: 'Lamu Archive', sources: [] })
  invitation = createInvitation(SECRET, fake.address, fake.federation)
})

afterEach(async () => {
  await fake.close()
  await rm(parent, { recursive: true })
})

const base64 = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('base64')

/** Gives the node a certificate that was issued so long ago. */
async function ageCertificate(ageMs: number): Promise<void> {
  const { membership } = await directory.read()
  if (membership === undefined) throw new Error('not enrolled')
  const { key, der } = await requestCertificate((await directory.readKey('node.key')) ?? '')
  const identity = { kind: 'node', node: membership.node } as const
  const certificate = await issueClientCertificate(fake.authority, der, identity, Date.now() - ageMs)
  await directory.writeKey('tls.pem', tlsPem({ key, certificate }))
}

describe('enrolment', () => {
  it('makes a member of the node, once', async () => {
    const membership = await joinFederation(directory, invitation, systemClock)
    expect(membership).toMatchObject({ federation: fake.federation, address: fake.address, member: 'archive' })
    expect(await joinFederation(directory, invitation, systemClock)).toEqual(membership)
    expect(asked).toEqual([`enroll ${membership.node}`])
    const client = await openNodeClient(directory, systemClock)
    await client.call(ModelService.method.listChannels, {})
    client.close()
    expect(asked.at(-1)).toBe(`list ${membership.node}`)
  })

  it('goes on with the same node when the answer was lost', async () => {
    const answer = issue
    issue = () => Promise.reject(new TapestryError('INTERNAL', 'the answer was lost'))
    await expect(joinFederation(directory, invitation, systemClock)).rejects.toEqual(withCode('INTERNAL'))
    expect((await directory.read()).membership).toBeUndefined()
    issue = answer
    await joinFederation(directory, invitation, systemClock)
    expect(new Set(asked).size).toBe(1)
    expect(asked).toHaveLength(2)
  })

  it('tells the secret to nobody but the federation that invited', async () => {
    const other = ensureFederationId(digestOf('another federation'))
    const wrong = createInvitation(SECRET, fake.address, other)
    await expect(joinFederation(directory, wrong, systemClock)).rejects.toEqual(withCode('WRONG_FEDERATION'))
    await expect(joinFederation(directory, 'tapestry-invite:1:x', systemClock)).rejects.toEqual(
      withCode('INVITATION_INVALID'),
    )
    expect(asked).toEqual([])
  })

  it('stays with one federation', async () => {
    await joinFederation(directory, invitation, systemClock)
    const other = createInvitation(SECRET, fake.address, ensureFederationId(digestOf('another federation')))
    await expect(joinFederation(directory, other, systemClock)).rejects.toEqual(withCode('WRONG_FEDERATION'))
  })

  it('passes the refusal of an invitation on', async () => {
    const unknown = createInvitation(Buffer.alloc(32, 8), fake.address, fake.federation)
    await expect(joinFederation(directory, unknown, systemClock)).rejects.toEqual(withCode('INVITATION_INVALID'))
  })

  it('takes no certificate of another authority, for another node or another key', async () => {
    const stranger = await createAuthority('Other', Date.now())
    const other = `node-${'0'.repeat(32)}` as NodeId
    const mine = issue
    for (const forged of [
      (request: Uint8Array, node: NodeId) =>
        issueClientCertificate(stranger, request, { kind: 'node', node }, Date.now()),
      (request: Uint8Array) => mine(request, other),
      async (_: Uint8Array, node: NodeId) => mine((await requestCertificate(fakeNodeKey())).der, node),
      async () => 'not a certificate',
    ]) {
      issue = forged
      await expect(joinFederation(directory, invitation, systemClock)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
      expect(await directory.readKey('tls.pem')).toBeUndefined()
    }
  })
})

function fakeNodeKey(): string {
  return fake.authority.key
}

describe('renewal', () => {
  it('happens at two thirds of the life, once for many calls, with a fresh key', async () => {
    const { node } = await joinFederation(directory, invitation, systemClock)
    await ageCertificate(15 * HOUR)
    const early = await openNodeClient(directory, systemClock)
    expect(await early.renewIfDue()).toBe(false)
    early.close()
    await ageCertificate(17 * HOUR)
    const before = await readFile(join(directory.root, 'keys/tls.pem'), 'utf8')
    const client = await openNodeClient(directory, systemClock)
    asked.length = 0
    await Promise.all([1, 2, 3].map(() => client.call(ModelService.method.listChannels, {})))
    expect(asked).toEqual([`renew ${node}`, `list ${node}`, `list ${node}`, `list ${node}`])
    expect(await readFile(join(directory.root, 'keys/tls.pem'), 'utf8')).not.toBe(before)
    expect(await client.renewIfDue()).toBe(false)
    client.close()
  })

  it('is put off while the coordinator cannot do it and the certificate lasts', async () => {
    const { node } = await joinFederation(directory, invitation, systemClock)
    await ageCertificate(20 * HOUR)
    issue = () => Promise.reject(new TapestryError('UNAVAILABLE', 'later'))
    const client = await openNodeClient(directory, systemClock)
    await client.call(ModelService.method.listChannels, {})
    client.close()
    expect(asked.at(-1)).toBe(`list ${node}`)
  })

  it('redeems the invitation again after the certificate has ended', async () => {
    const { node } = await joinFederation(directory, invitation, systemClock)
    await ageCertificate(30 * HOUR)
    asked.length = 0
    const client = await openNodeClient(directory, systemClock)
    await client.call(ModelService.method.listChannels, {})
    client.close()
    expect(asked).toEqual([`enroll ${node}`, `list ${node}`])
  })
})
