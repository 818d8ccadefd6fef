import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TEST_PLAN, TEST_POLICY, type TestCoordinator, testCoordinator, testRun } from '../../test/rounds.ts'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { ensureRunId, type RunId } from '../core/ids.ts'
import { WEIGHTS_FILE } from '../model/weight-index.ts'
import { advanceRound, openNextRound } from './advance.ts'
import type { CheckpointRow } from './checkpoint-row.ts'
import { publishInitialCheckpoint } from './publish.ts'
import type { Store } from './store.ts'

let coordinator: TestCoordinator
let store: Store

beforeAll(async () => {
  coordinator = await testCoordinator()
  store = coordinator.context.store
})

afterAll(() => coordinator.close())

function weightsOf(checkpoint: CheckpointRow | undefined): Digest | undefined {
  return checkpoint?.files.find(({ path }) => path === WEIGHTS_FILE)?.digest
}

describe('publishInitialCheckpoint', () => {
  it('names the same files for the same plan, and refuses a second run of the name', async () => {
    const run = await testRun(coordinator, 'first')
    const other = await testRun(coordinator, 'second')
    const [a, b] = [await store.reader.checkpoint(run.head), await store.reader.checkpoint(other.head)]
    expect(weightsOf(a)).toBeDefined()
    expect(weightsOf(b)).toBe(weightsOf(a))
    expect(run.planDigest).toBe(digestOf(canonicalBytes(TEST_PLAN)))
    await expect(testRun(coordinator, 'first')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })

  it('leaves a channel in use alone', async () => {
    const { context, signer, clock } = coordinator
    const owner = await testRun(coordinator, 'owner')
    const guest = { id: ensureRunId('guest'), policy: TEST_POLICY, channel: owner.channel }
    await publishInitialCheckpoint(context, signer, guest, TEST_PLAN, clock.now())
    expect((await store.reader.channel(owner.channel))?.checkpoint).toBe(owner.head)
  })

  it('refuses a policy out of range', async () => {
    const policy = { ...TEST_POLICY, quorum: 9 }
    await expect(testRun(coordinator, 'bad-policy', policy)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('openNextRound', () => {
  const open = (run: RunId) => store.transact('start', (tx) => openNextRound(tx, run, coordinator.clock.now()))

  it('opens one round at a time', async () => {
    const run = await testRun(coordinator, 'sequence')
    const opened = await Promise.allSettled([open(run.id), open(run.id), open(run.id)])
    expect(opened.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    await expect(open(run.id)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect((await store.reader.run(run.id))?.roundsStarted).toBe(1)
  })

  it('opens none of a run that is used up, however its last round ended', async () => {
    const run = await testRun(coordinator, 'used-up', { ...TEST_POLICY, rounds: 2 })
    await open(run.id)
    for (const number of [1, 2]) {
      coordinator.clock.advance(TEST_POLICY.joinWindowMs)
      const key = { run: run.id, number }
      const at = coordinator.clock.now()
      const row = await store.transact('time', (tx) => advanceRound(tx, key, { type: 'time-passed' }, at))
      expect(row.round.phase).toBe('failed')
    }
    expect(await store.reader.rounds({ run: run.id, limit: 10 })).toHaveLength(2)
    await expect(open(run.id)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  })

  it('knows which round is the newest when the clock was set back between two', async () => {
    const run = await testRun(coordinator, 'clock-set-back', { ...TEST_POLICY, rounds: 2, continuous: false })
    await open(run.id)
    const openedAt = coordinator.clock.now()
    coordinator.clock.advance(TEST_POLICY.joinWindowMs)
    const key = { run: run.id, number: 1 }
    const at = coordinator.clock.now()
    await store.transact('time', (tx) => advanceRound(tx, key, { type: 'time-passed' }, at))
    await store.transact('start', (tx) => openNextRound(tx, run.id, openedAt - 1000))
    const rounds = await store.reader.rounds({ run: run.id, limit: 2 })
    expect(rounds.map(({ key }) => key.number)).toEqual([2, 1])
  })

  it('knows no other runs', async () => {
    await expect(open(ensureRunId('nobody'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
