import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { FakeRounds } from '../../test/fake-rounds.ts'
import { generator, tensors } from '../../test/tensor-files.ts'
import { systemClock } from '../core/clock.ts'
import { parseCodecText } from '../core/codec.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { RoundPhase } from '../gen/proto/tapestry/v1/round_pb.ts'
import { issueClientCertificate } from '../identity/certificate-authority.ts'
import { nodeIdOf } from '../identity/genesis.ts'
import { createInvitation } from '../identity/invitation.ts'
import { publicKeyOf } from '../identity/key-file.ts'
import { parseHeader, readSafetensors, writeSafetensors } from '../model/safetensors.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { openNodeClient } from './client.ts'
import { joinFederation } from './enrolment.ts'
import { runNode } from './loop.ts'
import { createNodeDirectory, type NodeDirectory } from './node-directory.ts'
import type { NodeEvent } from './node-event.ts'

const FRACTION = 0.05
const score = { mean: 3, standardError: 0.1, tokens: 100 }
const backoff = { baseMs: 1, capMs: 1, random: () => 0 }

let fake: FakeCoordinator
let rounds: FakeRounds
let parent: string
let directory: NodeDirectory
/** Times that the trainer was asked, and what it made in each round. */
let trained: number[]
let stop: AbortController

beforeEach(async () => {
  fake = await FakeCoordinator.create()
  rounds = new FakeRounds(fake)
  rounds.codec = parseCodecText(`topk:fraction=${FRACTION}`)
  rounds.rounds = 3
  rounds.current.last = false
  fake.unary(EnrollmentService, {
    enroll: async ({ genesis, certificateRequest }) => {
      const subject = { kind: 'node', node: nodeIdOf(genesis) } as const
      const certificate = await issueClientCertificate(fake.authority, certificateRequest, subject, Date.now())
      return { node: subject.node, member: 'archive', certificate }
    },
  })
  await fake.listen()
  parent = await mkdtemp(join(tmpdir(), 'tapestry-feedback-'))
  directory = await createNodeDirectory(join(parent, 'node'), { name: 'Lamu Archive', sources: [] })
  await joinFederation(directory, createInvitation(Buffer.alloc(32, 7), fake.address, fake.federation), systemClock)
  rounds.nodeKey = publicKeyOf((await directory.readKey('node.key')) ?? '')
  trained = []
  stop = new AbortController()
})

afterEach(async () => {
  stop.abort()
  await fake.close()
  await rm(parent, { recursive: true })
})

/** What the node's training makes in a round: the same whenever it is repeated. */
function updateOf(round: number) {
  const shapes = Object.fromEntries(parameterSpecs(rounds.plan.spec).map(({ name, shape }) => [name, shape]))
  return tensors(shapes, generator(round))
}

/** A process of the node, until it has done `count` rounds, or has told of an event. */
async function run(count: number, until?: NodeEvent['type']): Promise<NodeEvent[]> {
  stop = new AbortController()
  const events: NodeEvent[] = []
  const client = await openNodeClient(directory, systemClock)
  const trainer = {
    async train({ outDelta }: { readonly outDelta: string }) {
      const round = rounds.current.number
      trained.push(round)
      await writeSafetensors(outDelta, updateOf(round))
      const language = { language: ensureLanguageTag('sw'), community: '', tokens: 9, documents: 1 }
      const languages = [{ ...language, before: score, after: score }]
      return { languages, records: [], excluded: { files: 0, documents: 0 }, steps: 1, wallMs: 5 }
    },
    score: async () => [
      { name: 'candidate', languages: [{ language: ensureLanguageTag('sw'), community: '', ...score }] },
    ],
  }
  const onEvent = (event: NodeEvent) => {
    events.push(event)
    if (event.type === until) stop.abort()
  }
  const options = { directory, client, trainer, clock: systemClock, signal: stop.signal, backoff, onEvent }
  await runNode({ ...options, rounds: count }).finally(() => client.close())
  return events
}

/** Adds what a payload says to the total. */
function addPayload(total: Map<string, Float64Array>, digest: Digest): void {
  const bytes = Buffer.from(fake.blobs.get(digest) ?? [])
  const header = parseHeader(bytes, bytes.byteLength)
  if (!header.ok) throw new Error(header.rejection.detail)
  for (const [name, sum] of total) {
    const [indices, values] = [header.value.tensors.get(`indices.${name}`), header.value.tensors.get(`values.${name}`)]
    for (let entry = 0; entry < (indices?.shape[0] ?? 0); entry += 1) {
      sum[bytes.readUInt32LE(indices!.begin + 4 * entry)]! += bytes.readFloatLE(values!.begin + 4 * entry)
    }
  }
}

/** Everything that was accepted, and everything that is remembered, is what these rounds' training made. */
async function expectNothingLost(contributed: readonly number[]): Promise<void> {
  const total = new Map(updateOf(1).map(({ name, data }) => [name, new Float64Array(data.length)]))
  const digests = new Set(rounds.contributions.map(({ payloadDigest }) => payloadDigest))
  for (const digest of digests) addPayload(total, ensureDigest(digest))
  const settled = await readSafetensors(join(directory.roundsPath, 'demo/residual/settled.safetensors'))
  for (const [name, { data }] of settled) for (const [j, value] of data.entries()) total.get(name)![j]! += value
  for (const round of contributed) {
    for (const { name, data } of updateOf(round)) {
      for (const [j, value] of data.entries()) total.get(name)![j]! -= value
    }
  }
  const worst = Math.max(...[...total.values()].flatMap((sum) => [...sum].map(Math.abs)))
  expect(worst).toBeLessThan(1e-5)
}

it('sends in later rounds what earlier ones left out', async () => {
  const events = await run(3)
  expect(rounds.contributions).toHaveLength(3)
  await expectNothingLost([1, 2, 3])
  expect(await readdir(join(directory.roundsPath, 'demo/residual'))).toEqual(['settled.safetensors'])
  const uploaded = events.find((event) => event.type === 'uploaded')
  expect(uploaded!.bytes / uploaded!.f32Bytes).toBeLessThan(0.5)
})

it('forgets a round that was refused, and nothing else', async () => {
  rounds.afterCall = (call) => {
    rounds.refuse = call === 'submit 2' ? { reason: 'NORM_TOO_LARGE', detail: 'too far' } : undefined
    if (call === 'submit 2') setImmediate(() => rounds.move({ phase: RoundPhase.FAILED, reason: 'no quorum' }))
  }
  const running = run(3)
  while (rounds.current.phase !== RoundPhase.FAILED) await new Promise((resolve) => setTimeout(resolve, 5))
  rounds.next()
  await running
  expect(trained).toEqual([1, 2, 3])
  expect(rounds.contributions.map(({ round }) => round)).toEqual([1, 3])
  await expectNothingLost([1, 3])
})

it.each(['trained', 'uploaded', 'accepted', 'evaluated'] as const)(
  'killed after %s, it sends the same bytes and neither loses nor doubles anything',
  async (type) => {
    await run(3, type)
    await run(3 - (type === 'evaluated' ? 1 : 0))
    expect(trained).toEqual([1, 2, 3])
    expect(rounds.contributions.map(({ round }) => round)).toEqual([1, 2, 3])
    await expectNothingLost([1, 2, 3])
  },
)

it('asks what became of a contribution whose answer was lost', async () => {
  rounds.automatic = false
  rounds.current.phase = RoundPhase.COLLECTING
  rounds.current.standing = 'joined'
  rounds.afterCall = (call) => {
    if (call !== 'submit 1') return
    stop.abort()
    fake.cutAll()
  }
  await run(1)
  expect(await readdir(join(directory.roundsPath, 'demo/residual'))).toHaveLength(1)
  rounds.automatic = true
  rounds.next()
  await run(2)
  expect(rounds.contributions.map(({ round }) => round)).toEqual([1, 2, 3])
  await expectNothingLost([1, 2, 3])
})

it('makes the update anew when its residual is gone, as it was', async () => {
  await run(1, 'trained')
  const sent = await readFile(join(directory.roundsPath, 'demo/1/delta.safetensors'))
  const folder = join(directory.roundsPath, 'demo/residual')
  for (const name of await readdir(folder)) await rm(join(folder, name))
  await run(1, 'uploaded')
  expect(trained).toEqual([1, 1])
  expect(await readFile(join(directory.roundsPath, 'demo/1/delta.safetensors'))).toEqual(sent)
})
