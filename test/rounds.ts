import { generateKeyPairSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { serverConfig } from '../src/config.ts'
import type { Context, ReleaseSigner } from '../src/context.ts'
import type { Clock } from '../src/core/clock.ts'
import { F32 } from '../src/core/codec.ts'
import { type Digest, digestOf } from '../src/core/digest.ts'
import {
  ensureChannelName,
  ensureFederationId,
  ensureMemberId,
  ensureNodeId,
  ensureRunId,
  type NodeId,
  type RoundKey,
} from '../src/core/ids.ts'
import { DEFAULT_INFLUENCE } from '../src/core/influence-choice.ts'
import { ensureLanguageTag } from '../src/core/language-tag.ts'
import { MEAN } from '../src/core/strategy.ts'
import { encodeHeader, inNameOrder } from '../src/model/safetensors.ts'
import { parameterSpecs } from '../src/plan/parameters.ts'
import { makePlan, type Plan } from '../src/plan/plan.ts'
import { PRESETS } from '../src/plan/presets.ts'
import { DEFAULT_RUN_POLICY, type RunPolicy } from '../src/round/policy.ts'
import { advanceRound, openNextRound } from '../src/store/advance.ts'
import { openBlobs } from '../src/store/blobs.ts'
import { migrate } from '../src/store/migrate.ts'
import { openStore } from '../src/store/prisma-store.ts'
import { publishInitialCheckpoint } from '../src/store/publish.ts'
import type { EvaluationRow, RunRow } from '../src/store/records.ts'
import { testDatabase } from './postgres.ts'

/** A clock that stands still until it is moved. */
export type TestClock = Clock & { now(): number; advance(ms: number): void }

/** A coordinator's rooms on a real database and a real blob store, without network and without keys of nodes. */
export type TestCoordinator = {
  readonly context: Context
  readonly signer: ReleaseSigner
  readonly clock: TestClock
  readonly databaseUrl: string
  readonly blobDirectory: string
  close(): Promise<void>
}

export async function testCoordinator(settings: Readonly<Record<string, unknown>> = {}): Promise<TestCoordinator> {
  const database = await testDatabase()
  await migrate(database.url)
  const store = await openStore({ url: database.url })
  const directory = await mkdtemp(join(tmpdir(), 'tapestry-test-blobs-'))
  const clock = testClock(1_750_000_000_000)
  const context: Context = {
    config: serverConfig({ flags: settings, env: {}, file: {} }),
    version: 'test',
    federation: ensureFederationId(digestOf('federation')),
    store,
    blobs: await openBlobs(directory),
    freeBytes: async () => Number.POSITIVE_INFINITY,
    clock,
    log: pino({ level: 'silent' }),
  }
  const close = async () => {
    await store.close()
    await database.drop()
    await rm(directory, { recursive: true, force: true })
  }
  const signer = { key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey }
  return { context, signer, clock, databaseUrl: database.url, blobDirectory: directory, close }
}

function testClock(start: number): TestClock {
  let now = start
  return {
    now: () => now,
    advance: (ms) => {
      now += ms
    },
  }
}

/** The smallest plan worth merging: about seven thousand parameters. */
export const TEST_PLAN: Plan = makePlan({
  ...PRESETS.tiny,
  architecture: { ...PRESETS.tiny.architecture, hiddenSize: 16, intermediateSize: 32, layers: 1, heads: 2, kvHeads: 2 },
  training: { ...PRESETS.tiny.training, batchSize: 2, sequenceLength: 32 },
})

export const TEST_POLICY: RunPolicy = {
  target: 3,
  quorum: 2,
  joinWindowMs: 1000,
  collectWindowMs: 1000,
  evaluateWindowMs: 1000,
  rounds: 3,
  continuous: true,
  maxNorm: 0,
  strategy: MEAN,
  influence: DEFAULT_INFLUENCE,
  gate: { evidence: 'paired', minTokens: 50 },
  demands: null,
  codec: F32,
  shardBytes: DEFAULT_RUN_POLICY.shardBytes,
}

/** The n-th node's id. */
export function testNode(n: number): NodeId {
  return ensureNodeId(`node-${n.toString(16).padStart(32, '0')}`)
}

/** A run of the test plan with nodes 1 to `nodes` enrolled, each of a member of its own. */
export async function testRun(
  coordinator: TestCoordinator,
  name: string,
  policy = TEST_POLICY,
  plan = TEST_PLAN,
): Promise<RunRow> {
  const { context, signer, clock } = coordinator
  const run = { id: ensureRunId(name), policy, channel: ensureChannelName(name) }
  return publishInitialCheckpoint(context, signer, run, plan, clock.now())
}

export async function enrol({ context, clock }: TestCoordinator, nodes: number): Promise<void> {
  await context.store.transact('enrol', async (tx) => {
    for (let n = 1; n <= nodes; n += 1) {
      const member = ensureMemberId(`member-${n}`)
      await tx.ensureMember(member, clock.now())
      const row = { id: testNode(n), member, name: `Node ${n}`, genesis: '{}', publicKey: 'none' } as const
      await tx.createNode({ ...row, enrolledAt: clock.now() })
    }
  })
}

/** A delta file of the test plan with the same value everywhere; its digest, stored. */
export async function storeDelta(
  { context }: TestCoordinator,
  value: number,
): Promise<{ digest: Digest; size: number }> {
  return context.blobs.put(deltaBytes(value))
}

/** The bytes of such a file. */
export function deltaBytes(value: number): Buffer {
  const specs = inNameOrder(parameterSpecs(TEST_PLAN.spec))
  const parts = specs.map(({ shape }) => new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value))
  return Buffer.concat([encodeHeader(specs, {}), ...parts.map((part) => Buffer.from(part.buffer))])
}

/** Opens the run's next round and lets nodes 1, 2, 3 hand in deltas of these values, in the order given by `arrival`. */
export async function sealedRound(
  coordinator: TestCoordinator,
  run: RunRow,
  values: readonly number[],
  arrival: readonly number[] = values.map((_, index) => index),
): Promise<RoundKey> {
  const key = await joinedRound(coordinator, run, arrival)
  for (const index of arrival) {
    const delta = await storeDelta(coordinator, values[index] ?? 0)
    await contribute(coordinator, key, index + 1, delta, Math.abs(values[index] ?? 0))
  }
  return key
}

/** The next round of a run whose target is 1, with a delta that node 1 makes for it: a file's path. */
export async function handIn(
  coordinator: TestCoordinator,
  run: RunRow,
  make: (key: RoundKey) => Promise<string>,
): Promise<RoundKey> {
  const key = await joinedRound(coordinator, run, [0])
  const delta = await coordinator.context.blobs.put(createReadStream(await make(key)))
  await contribute(coordinator, key, 1, delta, 1)
  return key
}

export async function joinedRound(
  coordinator: TestCoordinator,
  run: RunRow,
  arrival: readonly number[],
): Promise<RoundKey> {
  const { context, clock } = coordinator
  const { store } = context
  const live = await store.reader.rounds({ run: run.id, phases: ['open'], limit: 1 })
  const { key } = live[0] ?? (await store.transact('start-round', (tx) => openNextRound(tx, run.id, clock.now())))
  for (const index of arrival) {
    await store.transact('join', async (tx) => {
      await tx.addToRoster(key, [testNode(index + 1)], clock.now())
      await advanceRound(tx, key, { type: 'node-joined' }, clock.now())
    })
  }
  return key
}

export async function contribute(
  { context, clock }: TestCoordinator,
  key: RoundKey,
  n: number,
  delta: { readonly digest: Digest; readonly size: number },
  norm: number,
): Promise<void> {
  const node = testNode(n)
  const language = ensureLanguageTag(n % 2 === 0 ? 'sw' : 'yo')
  const score = { mean: 3, standardError: 0.1, tokens: 100 }
  const report = { language, community: '', tokens: 1000 * n, documents: n, before: score, after: score }
  await context.store.transact('contribute', async (tx) => {
    await tx.createContributions([
      {
        id: digestOf(`${key.run}/${key.number}/${n}`),
        key,
        node,
        manifest: '{}',
        signature: { keyId: 'none', value: 'none' },
        nonce: digestOf(`nonce ${key.run} ${key.number} ${n}`).slice(7, 39),
        payload: delta.digest,
        bytes: delta.size,
        norm,
        weight: null,
        languages: [report],
        records: [],
        acceptedAt: clock.now(),
      },
    ])
    await tx.setStanding(key, [node], 'accepted')
    await advanceRound(tx, key, { type: 'contribution-accepted', from: 'joined' }, clock.now())
  })
}

/** Node n's scores of the candidate in one language. */
export async function evaluate(
  { context, clock }: TestCoordinator,
  key: RoundKey,
  n: number,
  language: string,
  losses: { base: number; candidate: number },
): Promise<void> {
  const score = (mean: number) => ({ mean, standardError: 0.01, tokens: 500 })
  const row: EvaluationRow = {
    key,
    measuredBy: testNode(n),
    language: ensureLanguageTag(language),
    community: '',
    base: score(losses.base),
    candidate: score(losses.candidate),
    paired: null,
    report: { text: '{}', signature: { keyId: 'none', value: 'none' } },
    at: clock.now(),
  }
  await context.store.transact('evaluate', async (tx) => {
    await tx.putEvaluations([row])
    await tx.setEvaluated(key, testNode(n))
    await advanceRound(tx, key, { type: 'evaluation-stored' }, clock.now())
  })
}

/** Nobody evaluates any more: the window ends, and the decision is asked for. */
export async function endEvaluation({ context, clock }: TestCoordinator, key: RoundKey): Promise<void> {
  clock.advance(TEST_POLICY.evaluateWindowMs)
  await context.store.transact('time', (tx) => advanceRound(tx, key, { type: 'time-passed' }, clock.now()))
}
