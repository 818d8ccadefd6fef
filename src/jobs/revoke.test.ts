import { createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  contribute,
  endEvaluation,
  enrol,
  evaluate,
  joinedRound,
  storeDelta,
  TEST_POLICY,
  type TestCoordinator,
  testCoordinator,
  testNode,
  testRun,
} from '../../test/rounds.ts'
import { replayMerge } from '../aggregation/replay.ts'
import type { Context } from '../context.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import { DOMAINS, verifyMessage } from '../core/signature.ts'
import { parseStrategyText } from '../core/strategy.ts'
import { parseManifest } from '../model/manifest.ts'
import { digestOfFile } from '../participant/file-digest.ts'
import type { RevocationMode } from '../policy/revocation.ts'
import { advanceRound } from '../store/advance.ts'
import { OPTIMIZER_FILE, WEIGHTS_FILE } from '../store/publish.ts'
import type { CheckpointRow, RevocationRow, RunRow } from '../store/records.ts'
import { requestRevocation } from '../store/revoke.ts'
import type { Store, Tx } from '../store/store.ts'
import { HANDLERS, workUntilIdle } from './worker.ts'

let coordinator: TestCoordinator
let store: Store
let serial = 0

beforeAll(async () => {
  coordinator = await testCoordinator()
  store = coordinator.context.store
  await enrol(coordinator, 3)
})

afterAll(() => coordinator.close())

const STRATEGIES = ['mean', 'fedadam', 'median']

async function work(context: Context = coordinator.context): Promise<void> {
  const options = { concurrency: 1, signal: new AbortController().signal, retryMs: 1, handlers: HANDLERS }
  await workUntilIdle(context, coordinator.signer, options)
}

/** A run whose rounds take what comes. */
function newRun(strategy = 'mean', change: Partial<typeof TEST_POLICY> = {}): Promise<RunRow> {
  const policy = { ...TEST_POLICY, strategy: parseStrategyText(strategy), rounds: 9, ...change }
  return testRun(coordinator, `run-${++serial}`, policy)
}

async function live(run: RunRow): Promise<RoundKey> {
  const phases = ['open', 'collecting', 'evaluating'] as const
  const [row] = await store.reader.rounds({ run: run.id, phases, limit: 1 })
  if (row === undefined) throw new Error('no round is live')
  return row.key
}

/** What node n makes of its data in a turn: of no two turns and nodes the same. */
const deltaOf = (turn: number, n: number) => ((turn * 37 + n * 11) % 19) / 190 - 0.04

/** Hands in for a round, without ending it but by time. */
async function handIn(run: RunRow, turn: number, nodes: readonly number[]): Promise<RoundKey> {
  const indices = nodes.map((n) => n - 1)
  const key = await joinedRound(coordinator, run, indices)
  if ((await store.reader.round(key))?.round.phase === 'open') await passTime(key)
  for (const n of nodes) {
    await contribute(coordinator, key, n, await storeDelta(coordinator, deltaOf(turn, n)), Math.abs(deltaOf(turn, n)))
  }
  return key
}

async function passTime(key: RoundKey): Promise<void> {
  coordinator.clock.advance(TEST_POLICY.joinWindowMs)
  await store.transact('time', (tx) => advanceRound(tx, key, { type: 'time-passed' }, coordinator.clock.now()))
}

/** Lets these nodes judge a candidate well, and publishes it. */
async function release(key: RoundKey, nodes: readonly number[]): Promise<CheckpointRow> {
  await work()
  for (const n of nodes) await evaluate(coordinator, key, n, n % 2 === 0 ? 'sw' : 'yo', { base: 3, candidate: 2.9 })
  await endEvaluation(coordinator, key)
  await work()
  const round = (await store.reader.round(key))?.round
  if (round?.phase !== 'published') throw new Error(`not published: ${JSON.stringify(round)}`)
  const row = await store.reader.checkpoint(round.checkpoint)
  if (row === undefined) throw new Error('no checkpoint')
  return row
}

async function wholeRound(run: RunRow, turn: number, nodes: readonly number[]): Promise<CheckpointRow> {
  return release(await handIn(run, turn, nodes), nodes)
}

/** Weights and optimizer state of a run's head. */
async function filesOf(run: RunRow): Promise<(Digest | undefined)[]> {
  const head = (await store.reader.run(run.id))?.head
  const row = head && (await store.reader.checkpoint(head))
  return [WEIGHTS_FILE, OPTIMIZER_FILE].map((path) => row?.files.find((file) => file.path === path)?.digest)
}

const contributionId = (run: RunRow, round: number, n: number) => digestOf(`${run.id}/${round}/${n}`)

function revoke(id: Digest, mode: RevocationMode): Promise<readonly RevocationRow[]> {
  const request = { subject: { kind: 'contribution', id }, mode, requestedBy: 'operator', reason: 'a test' } as const
  return store.transact('revoke', (tx) => requestRevocation(tx, request, coordinator.clock.now()))
}

const revocationOf = async (run: RunRow, number = 1) => store.reader.revocation({ run: run.id, number })

describe.each(STRATEGIES)('a remerge of %s', (strategy) => {
  it('gives, byte for byte, what a run without the contribution gives from the same later ones', async () => {
    const run = await newRun(strategy)
    await wholeRound(run, 1, [1, 2, 3])
    const [clean] = await store.reader.checkpoints({ run: run.id, limit: 1 })
    for (const turn of [2, 3]) await wholeRound(run, turn, [1, 2, 3])
    await revoke(contributionId(run, 2, 3), 'remerge')
    const revision = { run: run.id, number: 5 }
    expect((await store.reader.run(run.id))?.head).toBe(clean?.digest)
    const reissued = await release(revision, [1, 2, 3])

    const control = await newRun(strategy)
    await wholeRound(control, 1, [1, 2, 3])
    await wholeRound(control, 2, [1, 2])
    await wholeRound(control, 3, [1, 2, 3])
    expect(await filesOf(run)).toEqual(await filesOf(control))
    const manifest = parseManifest(Buffer.from(reissued.manifest, 'utf8'))
    expect(manifest).toMatchObject({ version: 4, round: 5, base: clean?.digest, contributions: [] })
    expect(manifest.revision?.steps.map(({ round, contributions }) => [round, contributions.length])).toEqual([
      [2, 2],
      [3, 3],
    ])
  })
})

describe.each(STRATEGIES)('a rewind of %s', (strategy) => {
  it('gives, byte for byte, what a run that never had it gives from the same turns', async () => {
    const run = await newRun(strategy)
    for (const turn of [1, 2, 3]) await wholeRound(run, turn, [1, 2, 3])
    await revoke(contributionId(run, 2, 3), 'rewind')
    const repeated = await live(run)
    expect((await store.reader.round(repeated))?.round).toMatchObject({ uncounted: repeated.number - 2 })
    await wholeRound(run, 2, [1, 2])
    await wholeRound(run, 3, [1, 2, 3])

    const control = await newRun(strategy)
    await wholeRound(control, 1, [1, 2, 3])
    await wholeRound(control, 2, [1, 2])
    await wholeRound(control, 3, [1, 2, 3])
    expect(await filesOf(run)).toEqual(await filesOf(control))
  })
})

void [replayMerge, digestOfFile, createPublicKey, DOMAINS, verifyMessage, TapestryError, testNode, revocationOf]
export type Unused = Tx
