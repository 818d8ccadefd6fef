import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RequestInit } from '../../src/core/grpc-service.ts'
import { DOMAINS, privateKeyFromPem, signMessage } from '../../src/core/signature.ts'
import { EnrollmentService } from '../../src/gen/proto/tapestry/v1/enrollment_pb.ts'
import { RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { createAuthority, federationIdOf, issueServerCertificate } from '../../src/identity/certificate-authority.ts'
import { genesisBytes, nodeIdOf } from '../../src/identity/genesis.ts'
import { createInvitation, parseInvitation } from '../../src/identity/invitation.ts'
import { generateKey } from '../../src/identity/key-file.ts'
import { openNodeClient } from '../../src/participant/client.ts'
import { joinFederation } from '../../src/participant/enrolment.ts'
import { requireKey } from '../../src/participant/node-directory.ts'
import { parseTlsPem, requestCertificate } from '../../src/participant/tls-credential.ts'
import { signatureMessage } from '../../src/participant/wire.ts'
import { TestNetwork } from '../network.ts'

const HOUR_MS = 3_600_000

let network: TestNetwork

beforeAll(async () => {
  network = await TestNetwork.create()
})

afterAll(() => network?.close())

const nodeIds = async () => (await network.store.reader.nodes()).map(({ id }) => id)

/** A whole, honest request for the invitation, by a node that exists only in the test. */
async function honestRequest(text: string, name = 'by-hand') {
  const { federation, secret } = parseInvitation(text)
  const nodeKey = generateKey('ed25519')
  const genesis = genesisBytes({ name, nodeKey: nodeKey.publicKey, recoveryKey: generateKey('ed25519').publicKey })
  const { der, signature } = await requestCertificate(nodeKey.privateKey)
  return {
    federation,
    invitationSecret: secret,
    genesis,
    genesisSignature: signatureMessage(signMessage(privateKeyFromPem(nodeKey.privateKey), DOMAINS.genesis, genesis)),
    certificateRequest: der,
    requestSignature: signatureMessage(signature),
  }
}

type Honest = Awaited<ReturnType<typeof honestRequest>>
type Request = RequestInit<typeof EnrollmentService.method.enroll>

const enroll = (request: Request) => network.channel().call(EnrollmentService.method.enroll, request)

describe('an invitation', () => {
  test('admits one node; a second is refused and leaves no trace', async () => {
    const invitation = await network.invite('acme')
    const first = await joinFederation(await network.nodeDirectory('first', ['sw']), invitation, network.clock)
    const before = await nodeIds()
    expect(before).toContain(first.node)
    const second = await network.nodeDirectory('second', ['sw'])
    await expect(joinFederation(second, invitation, network.clock)).rejects.toMatchObject({ code: 'INVITATION_USED' })
    expect(await nodeIds()).toEqual(before)
    expect((await second.read()).membership).toBeUndefined()
  })

  test('admits one node also when two ask at the same moment', async () => {
    const invitation = await network.invite('acme')
    const before = (await nodeIds()).length
    const directories = await Promise.all(
      ['race-1', 'race-2', 'race-3'].map((name) => network.nodeDirectory(name, ['sw'])),
    )
    const outcomes = await Promise.allSettled(
      directories.map((directory) => joinFederation(directory, invitation, network.clock)),
    )
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
    expect(refused.map(({ reason }) => reason.code)).toEqual(['INVITATION_USED', 'INVITATION_USED'])
    expect((await nodeIds()).length).toBe(before + 1)
  })

  test('is refused after its time', async () => {
    const invitation = await network.invite('late', 60)
    const directory = await network.nodeDirectory('late', ['sw'])
    network.clock.advance(61_000)
    await expect(joinFederation(directory, invitation, network.clock)).rejects.toMatchObject({
      code: 'INVITATION_EXPIRED',
    })
  })

  test('is refused when nobody made it', async () => {
    const { address, federation } = parseInvitation(await network.invite('acme'))
    const forged = createInvitation(randomBytes(32), address, federation)
    const directory = await network.nodeDirectory('forger', ['sw'])
    await expect(joinFederation(directory, forged, network.clock)).rejects.toMatchObject({ code: 'INVITATION_INVALID' })
  })

  test.each(['', 'tapestry-invite:1:', 'hello', 'tapestry-invite:2:e30'])('is refused as %j', async (text) => {
    const directory = await network.nodeDirectory(`garbage-${randomBytes(4).toString('hex')}`, ['sw'])
    await expect(joinFederation(directory, text, network.clock)).rejects.toMatchObject({ code: 'INVITATION_INVALID' })
  })

  test('lasts three days at most', async () => {
    await expect(network.invite('acme', 72 * 3600 + 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('another federation', () => {
  /** A coordinator that should never be told a secret: notes whatever arrives after the handshake. */
  async function eavesdropper(): Promise<{ server: Server; address: string; heard: () => number }> {
    const authority = await createAuthority('Other', Date.now())
    const own = await issueServerCertificate(authority, ['127.0.0.1'], Date.now())
    let heard = 0
    const chain = `${own.certificate}\n${authority.certificate}`
    const server = createServer({ key: own.key, cert: chain, ALPNProtocols: ['h2', 'http/1.1'] }, (socket) => {
      socket.on('data', (bytes) => {
        heard += bytes.length
      })
      socket.on('error', () => undefined)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const at = server.address()
    const port = typeof at === 'object' && at !== null ? at.port : 0
    return { server, address: `127.0.0.1:${port}`, heard: () => heard }
  }

  test('is found out by its fingerprint before the secret travels', async () => {
    const { server, address, heard } = await eavesdropper()
    try {
      const invitation = createInvitation(randomBytes(32), address, network.federation)
      const directory = await network.nodeDirectory('careful', ['sw'])
      await expect(joinFederation(directory, invitation, network.clock)).rejects.toMatchObject({
        code: 'WRONG_FEDERATION',
      })
      expect(heard()).toBe(0)
    } finally {
      server.close()
    }
  })

  test('is refused by the coordinator, and the invitation stays good', async () => {
    const invitation = await network.invite('acme')
    const request = await honestRequest(invitation)
    const foreign = { ...request, federation: `sha256:${'0'.repeat(64)}` }
    await expect(enroll(foreign)).rejects.toMatchObject({ code: 'WRONG_FEDERATION' })
    expect((await enroll(request)).member).toBe('acme')
  })

  test('is refused by a node that already belongs to one', async () => {
    const directory = await network.nodeDirectory('settled', ['sw'])
    await joinFederation(directory, await network.invite('acme'), network.clock)
    const other = federationIdOf((await createAuthority('Other', Date.now())).certificate)
    const elsewhere = createInvitation(randomBytes(32), network.address, other)
    await expect(joinFederation(directory, elsewhere, network.clock)).rejects.toMatchObject({
      code: 'WRONG_FEDERATION',
    })
  })
})

describe('enrolling again', () => {
  test('gives the same node its certificate when the answer was lost', async () => {
    const request = await honestRequest(await network.invite('acme'))
    const first = await enroll(request)
    const again = await enroll(request)
    expect(again).toMatchObject({ node: first.node, member: 'acme' })
    expect(again.node).toBe(nodeIdOf(request.genesis))
    expect(again.certificate).toContain('BEGIN CERTIFICATE')
  })

  test('after a crash before the answer goes on with the same node', async () => {
    const directory = await network.nodeDirectory('crashed', ['sw'])
    const invitation = await network.invite('acme')
    const first = await joinFederation(directory, invitation, network.clock)
    // What a crash between the coordinator's commit and the node's last write leaves.
    const { membership: _, ...record } = await directory.read()
    await directory.write(record)
    const again = await joinFederation(directory, invitation, network.clock)
    expect(again).toEqual(first)
  })

  test('with another invitation is refused: a node is one member for ever', async () => {
    const request = await honestRequest(await network.invite('acme'))
    await enroll(request)
    const { secret } = parseInvitation(await network.invite('rival'))
    await expect(enroll({ ...request, invitationSecret: secret })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })
})

describe('a request', () => {
  const damaged = (bytes: Uint8Array) => Uint8Array.from(bytes, (byte, index) => (index === 10 ? byte ^ 1 : byte))

  const cases: [string, (request: Honest) => Request, string][] = [
    ['without anything', () => ({}), 'WRONG_FEDERATION'],
    ['without a genesis record', ({ genesis: _, ...rest }) => rest, 'INVALID_ARGUMENT'],
    [
      'with a genesis record that is not JSON',
      (request) => ({ ...request, genesis: Buffer.from('{') }),
      'INVALID_ARGUMENT',
    ],
    ['without a genesis signature', ({ genesisSignature: _, ...rest }) => rest, 'INVALID_ARGUMENT'],
    [
      'with a genesis signature by another key',
      (request) => ({ ...request, genesisSignature: { ...request.genesisSignature, value: randomBytes(64) } }),
      'VERIFICATION_FAILED',
    ],
    ['with a short secret', (request) => ({ ...request, invitationSecret: randomBytes(5) }), 'INVITATION_INVALID'],
    [
      'with a certificate request that the node did not sign',
      (request) => ({ ...request, certificateRequest: damaged(request.certificateRequest) }),
      'UNAUTHENTICATED',
    ],
  ]

  test.each(cases)('%s is refused and admits nobody', async (_, change, code) => {
    const request = await honestRequest(await network.invite('acme'))
    const before = await nodeIds()
    await expect(enroll(change(request))).rejects.toMatchObject({ code })
    const after = await nodeIds()
    // A node whose certificate request is bad may have been admitted, by a secret that is its own: it can try again.
    expect(after.filter((id) => !before.includes(id) && id !== nodeIdOf(request.genesis))).toEqual([])
    expect((await enroll(request)).node).toBe(nodeIdOf(request.genesis))
  })
})

describe('a certificate', () => {
  test('is renewed by its node, when two thirds of its life are over', async () => {
    const node = await network.addNode('renewing', ['sw'])
    const certificate = async () => parseTlsPem(await requireKey(node.directory, 'tls.pem')).certificate
    const before = await certificate()
    expect(await node.client.renewIfDue()).toBe(false)
    const ahead = { now: () => network.clock.now() + 17 * HOUR_MS }
    const client = await openNodeClient(node.directory, ahead)
    try {
      expect(await client.renewIfDue()).toBe(true)
      expect(await certificate()).not.toBe(before)
      await client.call(RoundService.method.listRounds, {})
    } finally {
      client.close()
    }
  })

  test('is not renewed for a request that another key signed', async () => {
    const node = await network.addNode('robbed', ['sw'])
    const { der } = await requestCertificate(generateKey('ed25519').privateKey)
    const requestSignature = signatureMessage(
      signMessage(privateKeyFromPem(generateKey('ed25519').privateKey), DOMAINS.enrolment, der),
    )
    const renewal = node.client.call(EnrollmentService.method.renewCertificate, {
      certificateRequest: der,
      requestSignature,
    })
    await expect(renewal).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })
})
