import { readdir } from 'node:fs/promises'
import { create, type DescMethod, type DescService } from '@bufbuild/protobuf'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TapestryError } from '../../src/core/error.ts'
import { methodPath } from '../../src/core/grpc-service.ts'
import { ensureNodeId, type RoundKey } from '../../src/core/ids.ts'
import { ArtifactService } from '../../src/gen/proto/tapestry/v1/artifact_pb.ts'
import { ContributionService, SummaryKey } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { ModelService } from '../../src/gen/proto/tapestry/v1/model_pb.ts'
import { RecordService } from '../../src/gen/proto/tapestry/v1/record_pb.ts'
import { RevocationService } from '../../src/gen/proto/tapestry/v1/revocation_pb.ts'
import { RoundPhase, RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { type Authority, createAuthority, issueClientCertificate } from '../../src/identity/certificate-authority.ts'
import type { CertificateIdentity } from '../../src/identity/certificate-identity.ts'
import { createCertificateRequest } from '../../src/identity/certificate-request.ts'
import { generateKey } from '../../src/identity/key-file.ts'
import type { ServerStreamMethod, UnaryMethod } from '../../src/participant/calls.ts'
import type { Channel, ClientIdentity } from '../../src/participant/channel.ts'
import { METHOD_ACCESS } from '../../src/rpc/auth.ts'
import { TestNetwork } from '../network.ts'
import { documentBytes, payloadOf, safetensorsBytes, tensorsOf } from './payload.ts'
import { getBytes, type Place, putBytes, type TestNode } from './test-node.ts'

/** How a call ended for a caller: let through (whatever the handler then said), or refused at the door. */
type Door = 'in' | 'UNAUTHENTICATED' | 'PERMISSION_DENIED'

const ANYONE: Doors = { stranger: 'in', barred: 'in', node: 'in', operator: 'in' }
const NODE: Doors = {
  stranger: 'UNAUTHENTICATED',
  barred: 'PERMISSION_DENIED',
  node: 'in',
  operator: 'PERMISSION_DENIED',
}
const OPERATOR: Doors = {
  stranger: 'UNAUTHENTICATED',
  barred: 'PERMISSION_DENIED',
  node: 'PERMISSION_DENIED',
  operator: 'in',
}
const MEMBERS: Doors = { ...NODE, operator: 'in' }

/** `stranger`: everyone without a certificate that counts. `barred`: a suspended node. */
type Doors = { readonly stranger: Door; readonly barred: Door; readonly node: Door; readonly operator: Door }

/**
 * Who gets in where, written by hand from docs/PROTOCOL.md and not derived from the code: a rule that is widened
 * there, or a method that is added, has to be widened or added here too.
 */
const EXPECTED: Readonly<Record<string, Doors>> = {
  '/tapestry.v1.ArtifactService/AnnounceArtifact': NODE,
  '/tapestry.v1.ArtifactService/DownloadArtifact': ANYONE,
  '/tapestry.v1.ArtifactService/UploadArtifact': NODE,
  '/tapestry.v1.ContributionService/ListReviews': NODE,
  '/tapestry.v1.ContributionService/SubmitContribution': NODE,
  '/tapestry.v1.ContributionService/SubmitEvaluation': NODE,
  '/tapestry.v1.ContributionService/SubmitReview': NODE,
  '/tapestry.v1.ContributionService/SummarizeContributions': MEMBERS,
  '/tapestry.v1.EnrollmentService/Enroll': ANYONE,
  '/tapestry.v1.EnrollmentService/GetFederation': ANYONE,
  '/tapestry.v1.EnrollmentService/RenewCertificate': NODE,
  '/tapestry.v1.LedgerService/GetConsistencyProof': ANYONE,
  '/tapestry.v1.LedgerService/GetInclusionProof': ANYONE,
  '/tapestry.v1.LedgerService/GetLogCheckpoint': ANYONE,
  '/tapestry.v1.LedgerService/GetReceipt': ANYONE,
  '/tapestry.v1.LedgerService/ListEntries': ANYONE,
  '/tapestry.v1.ModelService/GetAttestation': ANYONE,
  '/tapestry.v1.ModelService/GetCheckpoint': ANYONE,
  '/tapestry.v1.ModelService/GetPlan': ANYONE,
  '/tapestry.v1.ModelService/ListChannels': ANYONE,
  '/tapestry.v1.ModelService/ListCheckpoints': ANYONE,
  '/tapestry.v1.NodeService/ChangeKeys': ANYONE,
  '/tapestry.v1.NodeService/DeclarePause': NODE,
  '/tapestry.v1.NodeService/GetKeyChain': ANYONE,
  '/tapestry.v1.NodeService/LeaveFederation': ANYONE,
  '/tapestry.v1.OperatorService/CreateInvitation': OPERATOR,
  '/tapestry.v1.OperatorService/CreateRun': OPERATOR,
  '/tapestry.v1.OperatorService/EjectNode': OPERATOR,
  '/tapestry.v1.OperatorService/ListNodes': OPERATOR,
  '/tapestry.v1.OperatorService/ListRuns': OPERATOR,
  '/tapestry.v1.OperatorService/ReinstateNode': OPERATOR,
  '/tapestry.v1.OperatorService/GetOperators': OPERATOR,
  '/tapestry.v1.OperatorService/ListJobs': OPERATOR,
  '/tapestry.v1.OperatorService/OverrideRound': OPERATOR,
  '/tapestry.v1.OperatorService/RetryJob': OPERATOR,
  '/tapestry.v1.OperatorService/SetOperators': OPERATOR,
  '/tapestry.v1.OperatorService/StartRound': OPERATOR,
  '/tapestry.v1.OperatorService/SuspendNode': OPERATOR,
  '/tapestry.v1.RecordService/AdviseRecords': NODE,
  '/tapestry.v1.RecordService/ListRecords': ANYONE,
  '/tapestry.v1.RecordService/RegisterRecord': NODE,
  '/tapestry.v1.RecordService/WithdrawRecord': NODE,
  '/tapestry.v1.RevocationService/ListRevocations': MEMBERS,
  '/tapestry.v1.RevocationService/RequestRevocation': MEMBERS,
  '/tapestry.v1.RoundService/DeclineRound': NODE,
  '/tapestry.v1.RoundService/GetRound': MEMBERS,
  '/tapestry.v1.RoundService/JoinRound': NODE,
  '/tapestry.v1.RoundService/ListRounds': MEMBERS,
  '/tapestry.v1.RoundService/WatchRounds': MEMBERS,
}

const ACCESS_OF = new Map<Doors, string>([
  [ANYONE, 'anyone'],
  [NODE, 'node'],
  [OPERATOR, 'operator'],
  [MEMBERS, 'node-or-operator'],
])

let network: TestNetwork
let one: TestNode
let other: TestNode
let round: Place
const callers = new Map<string, { readonly as: keyof Doors; readonly channel: Channel }>()

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2 })
  const [first, second] = network.nodes
  if (!first || !second) throw new Error('two nodes were asked for')
  one = first
  other = second
  // An open round: watchers hear of it at once.
  round = await network.startRound()
  await openCallers()
})

afterAll(() => network?.close())

async function openCallers(): Promise<void> {
  const { authority } = network.parts.secrets
  const unknown: CertificateIdentity = { kind: 'node', node: ensureNodeId(`node-${'0'.repeat(32)}`) }
  const self: CertificateIdentity = { kind: 'node', node: one.id }
  const operator: CertificateIdentity = { kind: 'operator', name: 'operator' }
  const foreign = await createAuthority('Test', Date.now())
  const hour = 3_600_000
  const ended = { now: Date.now() - 2 * hour, lifetime: hour }
  const barred = await suspendedNode()
  const caller = (name: string, as: keyof Doors, identity?: ClientIdentity) =>
    callers.set(name, { as, channel: network.channel(identity) })
  caller('nobody', 'stranger')
  caller('a node whose certificate has ended', 'stranger', await identityOf(authority, self, ended))
  caller('an operator whose certificate has ended', 'stranger', await identityOf(authority, operator, ended))
  caller('a node of another authority', 'stranger', await identityOf(foreign, self))
  caller('an operator of another authority', 'stranger', await identityOf(foreign, operator))
  caller('a node that never enrolled', 'stranger', await identityOf(authority, unknown))
  caller('a suspended node', 'barred', await identityOf(authority, { kind: 'node', node: barred.id }))
  caller('a node', 'node', await identityOf(authority, self))
  caller('an operator', 'operator', await identityOf(authority, operator))
}

async function suspendedNode(): Promise<TestNode> {
  const node = await network.addNode('suspended')
  await network.store.transact('suspend', (tx) => tx.setNodeStatus(node.id, 'suspended', 'a test', Date.now()))
  return node
}

async function identityOf(
  authority: Authority,
  identity: CertificateIdentity,
  { now, lifetime }: { now: number; lifetime?: number } = { now: Date.now() },
): Promise<ClientIdentity> {
  const key = generateKey('ed25519').privateKey
  const request = await createCertificateRequest(key)
  return { key, certificate: await issueClientCertificate(authority, request, identity, now, lifetime) }
}

/** Every service in the generated code, found by looking: none can be forgotten. */
async function allMethods(): Promise<DescMethod[]> {
  const folder = new URL('../../src/gen/proto/tapestry/v1/', import.meta.url)
  const files = (await readdir(folder)).filter((name) => name.endsWith('_pb.ts'))
  const modules: Record<string, unknown>[] = await Promise.all(files.map((name) => import(new URL(name, folder).href)))
  return modules.flatMap((exports) =>
    Object.values(exports)
      .filter(isService)
      .flatMap((service) => service.methods),
  )
}

function isService(value: unknown): value is DescService {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'service'
}

/** Calls with an empty message: whoever is let in is told what it lacks, and that is another code. */
async function knock(channel: Channel, method: DescMethod): Promise<Door> {
  try {
    await callEmpty(channel, method)
    return 'in'
  } catch (error) {
    if (!(error instanceof TapestryError)) throw error
    if (error.code === 'UNAUTHENTICATED' || error.code === 'PERMISSION_DENIED') return error.code
    // The server itself must never stumble, and no call may hang.
    expect(error.code, methodPath(method)).not.toMatch(/INTERNAL|DEADLINE_EXCEEDED|UNAVAILABLE/)
    return 'in'
  }
}

async function callEmpty(channel: Channel, method: DescMethod): Promise<void> {
  const options = { deadlineMs: 30_000 }
  if (isUnary(method)) {
    await channel.call(method, create(method.input), options)
  } else if (isServerStream(method)) {
    for await (const _ of channel.receive(method, create(method.input), options)) return
  } else if (method === ArtifactService.method.uploadArtifact) {
    await channel.send(ArtifactService.method.uploadArtifact, oneEmpty(), options)
  } else {
    throw new Error(`no way to call ${methodPath(method)} yet`)
  }
}

async function* oneEmpty() {
  yield {}
}

const isUnary = (method: DescMethod): method is UnaryMethod => method.methodKind === 'unary'
const isServerStream = (method: DescMethod): method is ServerStreamMethod => method.methodKind === 'server_streaming'

describe('every method of every service', () => {
  test('is in the table, and the table has nothing else', async () => {
    const paths = (await allMethods()).map((method) => methodPath(method)).sort()
    expect(paths).toEqual(Object.keys(EXPECTED).sort())
  })

  test('has the rule in the code that the table says', () => {
    const rules = Object.fromEntries(Object.entries(EXPECTED).map(([path, doors]) => [path, ACCESS_OF.get(doors)]))
    expect(METHOD_ACCESS).toEqual(rules)
  })

  test('lets in exactly who may come in', async () => {
    const found: Record<string, Record<string, Door>> = {}
    const expected: Record<string, Record<string, Door>> = {}
    for (const method of await allMethods()) {
      const path = methodPath(method)
      const knocks = [...callers].map(async ([name, { channel }]) => [name, await knock(channel, method)] as const)
      found[path] = Object.fromEntries(await Promise.all(knocks))
      expected[path] = Object.fromEntries([...callers].map(([name, { as }]) => [name, EXPECTED[path]?.[as] ?? 'in']))
    }
    expect(found).toEqual(expected)
  })
})

describe('a node', () => {
  const payload = () => one.delta(network.tensors)

  test("cannot go on with another node's upload, nor take it over", async () => {
    const { digest, bytes } = payload()
    await one.announce(digest, bytes.length)
    const half = bytes.length >> 1
    await putBytes(one.client.https, digest, bytes.subarray(0, half), { size: bytes.length })

    const rest = { start: half, size: bytes.length }
    const answer = await putBytes(other.client.https, digest, bytes.subarray(half), rest)
    expect(answer).toMatchObject({ status: 412, code: 'FAILED_PRECONDITION' })
    await expect(other.announce(digest, bytes.length)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    const message = { digest, offset: BigInt(half), data: bytes.subarray(half) }
    const sent = other.client.send(
      ArtifactService.method.uploadArtifact,
      (async function* () {
        yield message
      })(),
    )
    await expect(sent).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })

    expect((await one.announce(digest, bytes.length)).offset).toBe(BigInt(half))
    expect((await putBytes(one.client.https, digest, bytes.subarray(half), rest)).status).toBe(201)
  })

  test("cannot hand in another node's signed manifest or report", async () => {
    const manifest = documentBytes(one.claim(round, payload()))
    expect(await other.submit(manifest, one.sign(manifest))).toMatchObject({ reason: 'BAD_SIGNATURE' })
    const report = documentBytes(one.review(round, payload().digest))
    expect(await other.report(report, one.sign(report, 'tapestry/evaluation/v1'))).toBe('BAD_SIGNATURE')
  })

  test('joins for itself alone', async () => {
    await one.join(round.key)
    expect(await standingOf(one, round.key)).toBe('joined')
    expect(await standingOf(other, round.key)).toBe('none')
  })

  test('is told that there is no such run or node, rather than nothing about it', async () => {
    const { summarizeContributions } = ContributionService.method
    const run = 'nope'
    for (const asked of [
      () => network.operator.call(summarizeContributions, { by: SummaryKey.NODE, run }),
      () => network.operator.call(RoundService.method.listRounds, { run }),
      () => network.operator.call(RevocationService.method.listRevocations, { run }),
      () => network.operator.call(ModelService.method.listCheckpoints, { run }),
      () => network.operator.call(RecordService.method.listRecords, { node: `node-${'0'.repeat(32)}` }),
    ]) {
      await expect(asked()).rejects.toMatchObject({ code: 'NOT_FOUND' })
    }
  })

  test('sees only its own part of the accounts', async () => {
    // Both have refusals by now.
    const manifest = documentBytes(other.claim(round, payload()))
    await one.submit(manifest, other.sign(manifest))
    const { summarizeContributions } = ContributionService.method
    const keysFor = async (channel: Pick<Channel, 'call'>) =>
      (await channel.call(summarizeContributions, { by: SummaryKey.NODE })).rows.map(({ key }) => key)
    expect(await keysFor(one.client)).toEqual([one.id])
    expect(await keysFor(other.client)).toEqual([other.id])
    expect(await keysFor(network.operator)).toEqual([one.id, other.id].sort())
  })
})

async function standingOf(node: TestNode, key: RoundKey): Promise<string> {
  for await (const { round: seen, standing } of node.client.receive(RoundService.method.watchRounds, {
    run: key.run,
  })) {
    if (seen?.ref?.number === key.number) return standing
  }
  throw new Error('the watch ended')
}

/** Bytes of the first message of a download over gRPC. */
async function firstBytes(node: TestNode, digest: string): Promise<number> {
  for await (const { data } of node.client.receive(ArtifactService.method.downloadArtifact, { digest }))
    return data.length
  return 0
}

describe('bytes over HTTPS', () => {
  const statuses = async (ask: (channel: Channel) => Promise<{ status: number }>) => {
    const answers = [...callers].map(async ([name, { channel }]) => [name, (await ask(channel)).status] as const)
    return Object.fromEntries(await Promise.all(answers))
  }
  const expectedFor = (doors: Readonly<Record<keyof Doors, number>>) =>
    Object.fromEntries([...callers].map(([name, { as }]) => [name, doors[as]]))

  test('a delta is for its node and for operators; a candidate for every member', async () => {
    const run = await network.createRun('judged', { target: 2, quorum: 2 })
    const place = await network.startRound(run)
    const nodes = [one, other]
    for (const node of nodes) await node.join(place.key)
    for (const node of nodes) expect((await node.contribute(place, network.tensors)).reason).toBeUndefined()
    const delta = one.delta(network.tensors).digest
    const found = await statuses((channel) => getBytes(channel.https, delta))
    expect(found).toEqual(expectedFor({ stranger: 401, barred: 403, node: 200, operator: 200 }))
    expect(await getBytes(other.client.https, delta)).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    await expect(firstBytes(other, delta)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(await firstBytes(one, delta)).toBeGreaterThan(0)

    const { round: evaluating } = await network.roundIn(place.key, RoundPhase.EVALUATING)
    const candidate = evaluating?.candidateDigest ?? ''
    const judges = await statuses((channel) => getBytes(channel.https, candidate))
    expect(judges).toEqual(expectedFor({ stranger: 401, barred: 403, node: 200, operator: 200 }))
    expect((await getBytes(other.client.https, candidate)).status).toBe(200)
  })

  test('a stranger does not learn whether an artifact exists', async () => {
    const answer = await getBytes(network.channel().https, `sha256:${'0'.repeat(64)}`)
    expect(answer).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' })
  })

  test('released files are open to anyone', async () => {
    const [released] = await network.store.reader.checkpoints({ limit: 1 })
    const manifest: { files: { path: string; digest: string }[] } = JSON.parse(released?.manifest ?? '')
    const weights = manifest.files.find(({ path }) => path === 'model.safetensors')
    const found = await statuses((channel) => getBytes(channel.https, weights?.digest ?? ''))
    expect(found).toEqual(expectedFor({ stranger: 200, barred: 200, node: 200, operator: 200 }))
  })

  test('only nodes send', async () => {
    const payload = payloadOf(safetensorsBytes(tensorsOf(network.tensors)))
    const found = await statuses((channel) =>
      putBytes(channel.https, payload.digest, payload.bytes, { size: payload.bytes.length }),
    )
    // 412: this node may send, but has not announced it.
    expect(found).toEqual(expectedFor({ stranger: 401, barred: 403, node: 412, operator: 403 }))
  })
})

test('a node that is suspended in the middle of a round is out at once', async () => {
  const node = await network.addNode('leaver')
  const get = () => node.client.call(RoundService.method.getRound, { ref: round.key })
  expect((await get()).round?.phase).toBe(RoundPhase.OPEN)
  await network.store.transact('suspend', (tx) => tx.setNodeStatus(node.id, 'suspended', 'a test', Date.now()))
  await expect(get()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
  await expect(node.join(round.key)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
})
