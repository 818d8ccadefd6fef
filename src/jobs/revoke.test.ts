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
import { WEIGHTS_FILE } from '../model/weight-index.ts'
import { digestOfFile } from '../participant/file-digest.ts'
import type { RevocationMode } from '../policy/revocation.ts'
import { advanceRound } from '../store/advance.ts'
import type { CheckpointRow, RevocationRow } from '../store/checkpoint-row.ts'
import { OPTIMIZER_FILE } from '../store/publish.ts'
import type { RunRow } from '../store/records.ts'
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
async function release(key: RoundKey, nodes: readonly number[], context?: Context): Promise<CheckpointRow> {
  await work(context)
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

const revocationOf = (run: RunRow, number = 1) => store.reader.revocation({ run: run.id, number })
const headOf = async (run: RunRow) => (await store.reader.run(run.id))?.head
const manifestOf = ({ manifest }: CheckpointRow) => parseManifest(Buffer.from(manifest, 'utf8'))

/** The store as it is for a worker that dies once inside each of the named transactions. */
function dyingOnceIn(...names: readonly string[]): Context {
  const left = new Set(names)
  const transact = <T>(name: string, work: (tx: Tx) => Promise<T>): Promise<T> =>
    store.transact(name, async (tx) => {
      const result = await work(tx)
      if (left.delete(name)) throw new TapestryError('UNAVAILABLE', 'as if the process died before the commit')
      return result
    })
  return { ...coordinator.context, store: { ...store, transact } }
}

describe.each(['mean', 'fedadam'])('without a contribution to a run of %s', (strategy) => {
  let control: (Digest | undefined)[]

  beforeAll(async () => {
    const never = await newRun(strategy)
    await wholeRound(never, 1, [1, 2, 3])
    await wholeRound(never, 2, [1, 2])
    await wholeRound(never, 3, [1, 2, 3])
    control = await filesOf(never)
  })

  it('a remerge gives, byte for byte, what a run without it gives from the same later ones', async () => {
    const run = await newRun(strategy)
    const clean = await wholeRound(run, 1, [1, 2, 3])
    const touched = [await wholeRound(run, 2, [1, 2, 3]), await wholeRound(run, 3, [1, 2, 3])]
    await revoke(contributionId(run, 2, 3), 'remerge')
    expect(await headOf(run)).toBe(clean.digest)
    const context = dyingOnceIn('record-remerge', 'revocation-notice-signed')
    const reissued = await release({ run: run.id, number: 5 }, [1, 2, 3], context)
    expect(await filesOf(run)).toEqual(control)
    const manifest = manifestOf(reissued)
    expect(manifest).toMatchObject({ version: 4, round: 5, base: clean.digest, contributions: [] })
    expect(manifest.revision?.replaces).toEqual(touched.map(({ digest }) => digest))
    const steps = manifest.revision?.steps.map(({ round, contributions }) => [round, contributions.length])
    expect(steps).toEqual([
      [2, 2],
      [3, 3],
    ])
    const { blobs } = coordinator.context
    const replayed = await replayMerge({
      manifest,
      base: manifestOf(clean),
      pathOf: (digest) => blobs.localPath(digest),
      digestOf: async (path) => (await digestOfFile(path)).digest,
      scratch: await blobs.scratch(),
    })
    expect(replayed.map(({ found }) => found)).toEqual(control.filter((digest) => digest !== undefined))
  })

  it('a rewind gives what a run that never had it gives, in the same turns', async () => {
    const run = await newRun(strategy)
    for (const turn of [1, 2, 3]) await wholeRound(run, turn, [1, 2, 3])
    await revoke(contributionId(run, 2, 3), 'rewind')
    const repeated = await live(run)
    expect((await store.reader.round(repeated))?.round).toMatchObject({ uncounted: repeated.number - 2 })
    await wholeRound(run, 2, [1, 2])
    await wholeRound(run, 3, [1, 2, 3])
    expect(await filesOf(run)).toEqual(control)
  })
})

describe('a revocation', () => {
  it('supersedes, signs, records and deletes what nothing else needs, and only that', async () => {
    const run = await newRun()
    const clean = await wholeRound(run, 1, [1, 2, 3])
    const touched = await wholeRound(run, 2, [1, 2, 3])
    const { blobs } = coordinator.context
    const payload = (await store.reader.contribution(contributionId(run, 2, 3)))?.payload ?? digestOf('')
    const weights = touched.files.find(({ path }) => path === WEIGHTS_FILE)?.digest ?? digestOf('')
    const keptBytes = async () => {
      let sum = 0
      for await (const { size } of blobs.old(Number.MAX_SAFE_INTEGER)) sum += size
      return sum
    }
    const before = await keptBytes()
    const [begun] = await revoke(contributionId(run, 2, 3), 'rewind')
    expect(begun?.plan).toMatchObject({ base: clean.digest, superseded: [touched.digest], firstBase: false })
    expect((await store.reader.channel(run.channel))?.checkpoint).toBe(clean.digest)
    await work(dyingOnceIn('revocation-blobs-deleted'))
    const row = await revocationOf(run)
    expect(row?.state).toMatchObject({ phase: 'done', outcome: { kind: 'returned' } })
    const notice = row?.notice
    const key = createPublicKey(coordinator.signer.key)
    const bytes = Buffer.from(notice?.text ?? '', 'utf8')
    expect(notice && verifyMessage(key, DOMAINS.supersession, bytes, notice.signature)).toBe(true)
    // What was foretold, as `--dry-run` does, is what went.
    expect(before - (await keptBytes())).toBe(begun?.plan.deletedBytes)
    expect(begun?.plan.deletedBytes).toBeGreaterThan(0)
    expect(await blobs.has(payload)).toBe(false)
    expect(await blobs.has(weights)).toBe(false)
    const kept = [...clean.files, ...touched.files.filter(({ path }) => path !== WEIGHTS_FILE)]
    for (const { digest } of kept) expect(await blobs.has(digest)).toBe(true)
    for (const { payload: other } of (await store.reader.contributions({ run: run.id, number: 2 })).slice(0, 2)) {
      expect(await blobs.has(other)).toBe(true)
    }
    await expect(revoke(contributionId(run, 2, 3), 'rewind')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(revoke(digestOf('nothing'), 'rewind')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('of everything returns the run to the checkpoint that it began with, and says so', async () => {
    const run = await newRun('mean', { continuous: false })
    const first = await headOf(run)
    await wholeRound(run, 1, [1, 2])
    for (const n of [1, 2]) await revoke(contributionId(run, 1, n), 'remerge')
    await work()
    expect(await headOf(run)).toBe(first)
    const [one, other] = [await revocationOf(run, 1), await revocationOf(run, 2)]
    expect(one?.plan).toMatchObject({ firstBase: true, steps: [] })
    expect(one?.state).toMatchObject({ phase: 'done', outcome: { kind: 'returned' } })
    expect(other?.state).toMatchObject({ phase: 'done', outcome: { kind: 'untouched' } })
  })

  it('that comes during the revision of another takes over what that was to merge', async () => {
    const run = await newRun('mean', { quorum: 1, continuous: false })
    const clean = await wholeRound(run, 1, [1, 2, 3])
    const touched = await wholeRound(run, 2, [1, 2, 3])
    await revoke(contributionId(run, 2, 3), 'remerge')
    await work()
    await revoke(contributionId(run, 2, 2), 'remerge')
    const reissued = await release({ run: run.id, number: 4 }, [1])
    const { revision, base } = manifestOf(reissued)
    expect(base).toBe(clean.digest)
    expect(revision?.replaces).toEqual([touched.digest])
    expect(revision?.steps.map(({ contributions }) => contributions.map(({ node }) => node))).toEqual([[testNode(1)]])
    expect((await revocationOf(run, 1))?.state).toMatchObject({ outcome: { kind: 'overtaken', by: 2 } })
    expect((await revocationOf(run, 2))?.state).toMatchObject({ phase: 'done', outcome: { kind: 'reissued' } })
  })

  it('ends a live round in any phase, gives its turn back, and the run goes on', async () => {
    const run = await newRun()
    const collecting = await joinedRound(coordinator, run, [0, 1, 2])
    await contribute(coordinator, collecting, 3, await storeDelta(coordinator, 0.01), 0.01)
    await revoke(contributionId(run, 1, 3), 'remerge')
    expect((await store.reader.round(collecting))?.round).toMatchObject({ phase: 'failed' })
    const evaluating = await handIn(run, 1, [1, 2, 3])
    await work()
    expect((await store.reader.round(evaluating))?.round.phase).toBe('evaluating')
    await revoke(contributionId(run, 2, 1), 'rewind')
    expect((await store.reader.round(evaluating))?.round.phase).toBe('failed')
    const next = await live(run)
    expect((await store.reader.round(next))?.round).toMatchObject({ phase: 'open', uncounted: 2 })
    expect(await store.reader.run(run.id)).toMatchObject({ roundsStarted: 1, uncounted: 2 })
  })
})
