import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NOW, RUN, seed, testStore } from '../../test/store-rows.ts'
import type { Work } from '../round/step.ts'
import type { JobKind, LeasedJob } from './job-row.ts'
import type { Store } from './store.ts'

const LEASE_MS = 1000
const HOLD_MS = 5000
const BOTH: readonly JobKind[] = ['aggregate', 'decide']

let store: Store
let close: () => Promise<void>

beforeEach(async () => {
  const opened = await testStore()
  store = opened.store
  close = opened.close
  await seed(store, 1)
})

afterEach(() => close())

/** Asks for work on round 1 as a step of the round does. */
async function ask(work: readonly Work[], now = NOW): Promise<void> {
  await store.transact('step', async (tx) => {
    const row = await tx.round({ run: RUN, number: 1 })
    if (row !== undefined) await tx.saveRound(row, row.round, work, now)
  })
}

function lease(now = NOW, kinds = BOTH): Promise<LeasedJob | undefined> {
  return store.transact('lease', (tx) => tx.leaseJob(kinds, now, LEASE_MS))
}

async function leaseOne(now = NOW): Promise<LeasedJob> {
  const job = await lease(now)
  if (job === undefined) throw new Error('no job')
  return job
}

const finish = (job: LeasedJob, now: number) => store.transact('finish', (tx) => tx.finishJob(job, now))
const fail = (job: LeasedJob, now: number) =>
  store.transact('fail', (tx) => tx.failJob(job, 'ENGINE_FAILED: x\0', { mostAttempts: 2, holdMs: HOLD_MS }, now))

describe('jobs', () => {
  it('go to one worker each, oldest first, however many ask at once', async () => {
    await ask(['aggregate'], NOW)
    await ask(['decide', 'aggregate'], NOW + 1)
    const leased = await Promise.all([lease(NOW + 2), lease(NOW + 2), lease(NOW + 2), lease(NOW + 2)])
    const ids = leased.flatMap((job) => (job === undefined ? [] : [job.id]))
    expect(ids.sort()).toEqual([`aggregate/${RUN}/1`, `decide/${RUN}/1`])
  })

  it('are of the kinds asked for', async () => {
    await ask(['aggregate'])
    expect(await lease(NOW, ['decide'])).toBeUndefined()
    expect(await lease(NOW, ['aggregate'])).toMatchObject({
      kind: 'aggregate',
      attempts: 1,
      key: { run: RUN, number: 1 },
    })
  })

  it('are finished by the holder of the lease alone', async () => {
    await ask(['aggregate'])
    const job = await leaseOne()
    expect(await finish({ ...job, token: 'guessed' }, NOW)).toBe(false)
    expect(await finish(job, NOW + LEASE_MS)).toBe(false)
    expect(await finish(job, NOW + LEASE_MS - 1)).toBe(true)
    expect(await finish(job, NOW)).toBe(false)
    expect(await lease(NOW + 10 * LEASE_MS)).toBeUndefined()
    await ask(['aggregate'])
    expect(await store.reader.jobs({ limit: 5 })).toMatchObject([{ state: 'done', attempts: 1 }])
  })

  it('pass to another worker when the lease ends, unless it is renewed', async () => {
    await ask(['aggregate'])
    const job = await leaseOne()
    expect(await store.transact('renew', (tx) => tx.renewLease(job, NOW + 900, LEASE_MS))).toBe(true)
    expect(await lease(NOW + LEASE_MS)).toBeUndefined()
    const next = await leaseOne(NOW + 900 + LEASE_MS)
    expect(next).toMatchObject({ id: job.id, attempts: 2 })
    expect(await finish(job, NOW + 900 + LEASE_MS)).toBe(false)
    expect(await store.transact('renew', (tx) => tx.renewLease(job, NOW + 2000, LEASE_MS))).toBe(false)
    expect(await fail(job, NOW + 2000)).toBe(false)
    expect(await finish(next, NOW + 2000)).toBe(true)
  })

  it('come back after a failure and are abandoned after the last', async () => {
    await ask(['decide'])
    expect(await fail(await leaseOne(), NOW + 1)).toBe('ready')
    expect(await fail(await leaseOne(NOW + 2), NOW + 3)).toBe('abandoned')
    expect(await lease(NOW + 10 * LEASE_MS)).toBeUndefined()
    const [job] = await store.reader.jobs({ states: ['abandoned'], limit: 5 })
    expect(job).toMatchObject({ attempts: 2, lastError: 'ENGINE_FAILED: x\uFFFD' })
    expect(await store.reader.jobs({ states: ['ready', 'leased'], limit: 5 })).toEqual([])
  })

  it('tell who took them last, and until when', async () => {
    await ask(['aggregate'])
    await store.transact('lease', (tx) => tx.leaseJob(BOTH, NOW, LEASE_MS, 'host/7\0'))
    const id = `aggregate/${RUN}/1`
    expect(await store.reader.job(id)).toMatchObject({ leaseHolder: 'host/7\uFFFD', leaseUntil: NOW + LEASE_MS })
    expect(await store.reader.job('aggregate/none/1')).toBeUndefined()
  })

  it('wait for an operator when they were abandoned, and are given up once', async () => {
    await ask(['decide'])
    const id = `decide/${RUN}/1`
    const retry = () => store.transact('retry', (tx) => tx.retryJob(id, NOW + 3))
    const giveUp = (now: number) => store.transact('give-up', (tx) => tx.giveUpJob(id, now))
    expect(await retry()).toBe(false)
    await fail(await leaseOne(), NOW + 1)
    await fail(await leaseOne(NOW + 1), NOW + 2)
    expect(await store.reader.jobsToGiveUp(NOW + 1 + HOLD_MS, 5)).toEqual([])
    expect(await giveUp(NOW + 1 + HOLD_MS)).toBe(false)
    expect(await retry()).toBe(true)
    expect(await leaseOne(NOW + 3)).toMatchObject({ id, attempts: 1 })
    await fail(await leaseOne(NOW + 3 + LEASE_MS), NOW + 3 + LEASE_MS)
    const end = NOW + 3 + LEASE_MS + HOLD_MS
    expect(await store.reader.jobsToGiveUp(end, 5)).toMatchObject([{ id, state: 'abandoned' }])
    expect([await giveUp(end), await giveUp(end), await retry()]).toEqual([true, false, false])
    expect(await store.reader.jobsToGiveUp(end, 5)).toEqual([])
  })
})
