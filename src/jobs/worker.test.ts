import { setTimeout as delay } from 'node:timers/promises'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  enrol,
  evaluate,
  sealedRound,
  TEST_POLICY,
  type TestCoordinator,
  testCoordinator,
  testRun,
} from '../../test/rounds.ts'
import { createLog } from '../cli/log.ts'
import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import type { Phase } from '../round/round.ts'
import { openNextRound } from '../store/advance.ts'
import type { Store } from '../store/store.ts'
import { watchJobs } from '../telemetry/job-watch.ts'
import { openWakeQueue, type WakeQueue } from './driver.ts'
import { startSweeper, sweep } from './sweep.ts'
import type { Task } from './task.ts'
import { type Handlers, startWorker, type WorkerOptions, workUntilIdle } from './worker.ts'

let coordinator: TestCoordinator
let store: Store

beforeAll(async () => {
  coordinator = await testCoordinator()
  store = coordinator.context.store
  await enrol(coordinator, 3)
})

afterAll(() => coordinator.close())

/** A queue through which nothing comes. */
const SILENT: WakeQueue = { wake() {}, consume() {}, async close() {} }
const HOLD_MS = 1000
/** Longer than any test. */
const NEVER_MS = 2 ** 30

async function job(id: string) {
  const jobs = await store.reader.jobs({ limit: 1000 })
  return jobs.find((one) => one.id === id)
}

async function sealed(name: string): Promise<RoundKey> {
  return sealedRound(coordinator, await testRun(coordinator, name), [0.1, 0.2, 0.3])
}

/** Waits until a round is in a phase; the test's own time limit ends a wait in vain. */
async function reaches(key: RoundKey, phase: Phase): Promise<void> {
  while ((await store.reader.round(key))?.round.phase !== phase) await delay(5)
}

function options(handlers: Handlers, rest: Partial<WorkerOptions> = {}): WorkerOptions {
  return { concurrency: 1, signal: new AbortController().signal, retryMs: 0, holdMs: HOLD_MS, handlers, ...rest }
}

/** What a service's log says: JSON, a line each. */
function linesOf(use: (log: Context['log']) => Promise<unknown>): Promise<Record<string, unknown>[]> {
  const lines: Record<string, unknown>[] = []
  const stderr = { write: (line: string) => lines.push(JSON.parse(line)) }
  return use(createLog({ flag: 'debug', env: {}, quiet: false, stderr })).then(() => lines)
}

const nothing = async () => {}
const handle = (aggregate: (task: Task) => Promise<void>): Handlers => ({
  aggregate,
  decide: nothing,
  override: nothing,
  revoke: nothing,
})
const work = (given: WorkerOptions, context: Context = coordinator.context) =>
  workUntilIdle(context, coordinator.signer, given)

/** No operator asks again for what was abandoned. */
async function waitInVain(): Promise<void> {
  coordinator.clock.advance(HOLD_MS)
  await sweep(coordinator.context, () => {})
}

describe('a worker', () => {
  it('has every line of its log name the job', async () => {
    const key = await sealed('logged')
    const handlers = handle(async ({ context }) => {
      await delay(1)
      context.log.debug('deep inside')
      throw new TapestryError('UNAVAILABLE', 'not today')
    })
    const lines = await linesOf((log) => work(options(handlers), { ...coordinator.context, log }))
    expect(lines.map(({ msg }) => msg)).toEqual(expect.arrayContaining(['deep inside', 'a job failed']))
    expect(new Set(lines.map(({ job: id }) => id))).toEqual(new Set([`aggregate/${key.run}/${key.number}`]))
    await waitInVain()
  })

  it('takes rounds from sealed to published by its own poll, with a queue that never wakes it', async () => {
    const stop = new AbortController()
    const given = { concurrency: 2, signal: stop.signal, pollMs: 20 }
    const { stopped } = startWorker(coordinator.context, coordinator.signer, SILENT, given)
    const key = await sealed('polled')
    await reaches(key, 'evaluating')
    for (const n of [1, 2, 3]) await evaluate(coordinator, key, n, 'sw', { base: 3, candidate: 2 })
    await reaches(key, 'published')
    stop.abort()
    await stopped
    expect(await job('decide/polled/1')).toMatchObject({ state: 'done', attempts: 1 })
  })

  it('abandons a job after five failures, and its round when no operator asks again', async () => {
    const key = await sealed('failing')
    let calls = 0
    const handlers = handle(async () => {
      calls += 1
      throw new TapestryError('DISK_FULL', 'no space left')
    })
    const registry = new Registry()
    await work(options(handlers, { holder: 'host/1', watch: watchJobs(registry) }))
    expect(calls).toBe(5)
    const counted = await registry.metrics()
    expect(counted).toContain('tapestry_worker_attempts_total{kind="aggregate"} 5')
    expect(counted).toContain('tapestry_worker_jobs_total{kind="aggregate",outcome="failed"} 4')
    expect(counted).toContain('tapestry_worker_jobs_total{kind="aggregate",outcome="abandoned"} 1')
    expect(counted).toContain('tapestry_worker_job_seconds_count{kind="aggregate"} 5')
    expect(counted).toContain('tapestry_worker_busy 0')
    expect(await job('aggregate/failing/1')).toMatchObject({ state: 'abandoned', attempts: 5, leaseHolder: 'host/1' })
    expect((await store.reader.round(key))?.round.phase).toBe('sealed')
    await waitInVain()
    const row = await store.reader.round(key)
    expect(row?.round).toMatchObject({ phase: 'failed', reason: expect.stringContaining('DISK_FULL') })
    expect((await store.reader.round({ ...key, number: 2 }))?.round.phase).toBe('open')
  })

  it('does an abandoned job when an operator asks again in time', async () => {
    const key = await sealed('asked-again')
    await work(options(handle(() => Promise.reject(new TapestryError('DISK_FULL', 'no space left')))))
    coordinator.clock.advance(HOLD_MS - 1)
    await sweep(coordinator.context, () => {})
    const ask = () => store.transact('retry', (tx) => tx.retryJob('aggregate/asked-again/1', coordinator.clock.now()))
    expect([await ask(), await ask()]).toEqual([true, false])
    await work(options(handle(finishJob)))
    expect(await job('aggregate/asked-again/1')).toMatchObject({ state: 'done', attempts: 1 })
    await waitInVain()
    expect((await store.reader.round(key))?.round.phase).toBe('sealed')
  })

  it('tells nobody what an unexpected error said', async () => {
    const key = await sealed('secretive')
    await work(options(handle(() => Promise.reject(new Error('password=hunter2')))))
    await waitInVain()
    const row = await store.reader.round(key)
    expect(row?.round.phase).toBe('failed')
    expect(JSON.stringify([row, await job('aggregate/secretive/1')])).not.toContain('hunter2')
  })

  it('does not try a sixth time what killed five workers', async () => {
    const key = await sealed('deadly')
    for (let death = 1; death <= 5; death += 1) {
      const leased = await store.transact('die', (tx) => tx.leaseJob(['aggregate'], coordinator.clock.now(), 1000))
      expect(leased?.attempts).toBe(death)
      coordinator.clock.advance(1001)
    }
    let calls = 0
    const count = async () => {
      calls += 1
    }
    await work(options(handle(count)))
    expect(calls).toBe(0)
    await waitInVain()
    expect((await store.reader.round(key))?.round.phase).toBe('failed')
  })

  it('gives its job back at once when it is stopped', async () => {
    await sealed('handed-on')
    const stop = new AbortController()
    const untilStopped = handle(({ signal }) => {
      const aborted = new Promise<void>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
      })
      stop.abort()
      return aborted
    })
    await work(options(untilStopped, { signal: stop.signal }))
    expect(await job('aggregate/handed-on/1')).toMatchObject({ state: 'leased', lastError: null })
    const attempts: number[] = []
    await work(
      options(
        handle((task) => {
          attempts.push(task.job.attempts)
          return finishJob(task)
        }),
      ),
    )
    expect(attempts).toEqual([2])
    expect(await job('aggregate/handed-on/1')).toMatchObject({ state: 'done' })
  })

  it('is told when its lease has passed to another', async () => {
    await sealed('overtaken')
    const handlers = handle(async ({ signal }) => {
      coordinator.clock.advance(1000)
      const other = await store.transact('steal', (tx) => tx.leaseJob(['aggregate'], coordinator.clock.now(), NEVER_MS))
      expect(other?.attempts).toBe(2)
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      throw signal.reason
    })
    await work(options(handlers, { leaseMs: 30 }))
    expect(await job('aggregate/overtaken/1')).toMatchObject({ state: 'leased', attempts: 2 })
    coordinator.clock.advance(NEVER_MS)
    await work(options(handle(finishJob)))
  })

  it('lives on when the database does not answer', async () => {
    const down = () => Promise.reject(new TapestryError('UNAVAILABLE', 'the database cannot be reached'))
    await work(options(handle(finishJob)), { ...coordinator.context, store: { ...store, transact: down } })
  })

  it('goes to rest when nothing was to do for long enough, and not before', async () => {
    await sealed('before-rest')
    let wake = () => Promise.resolve()
    const queue: WakeQueue = {
      ...SILENT,
      consume(onWake) {
        wake = onWake
      },
    }
    const { clock } = coordinator
    const { stopped } = startWorker(coordinator.context, coordinator.signer, queue, {
      ...options(handle(finishJob)),
      pollMs: 5,
      restMs: 1000,
    })
    let over = false
    void stopped.then(() => {
      over = true
    })
    while ((await job('aggregate/before-rest/1'))?.state !== 'done') await delay(5)
    clock.advance(999)
    await wake()
    clock.advance(999)
    await delay(50)
    expect(over).toBe(false)
    // On a busy machine the worker may notice only now that its job was done: it then rests from here.
    while (!over) {
      clock.advance(1000)
      await delay(5)
    }
  })

  it('looks again when it was woken after its last look, before it rested', async () => {
    const stop = new AbortController()
    let wake = () => Promise.resolve()
    const queue: WakeQueue = {
      ...SILENT,
      consume(onWake) {
        wake = onWake
      },
    }
    let made: RoundKey | undefined
    // What a look found is on its way to the worker while the job is made, and its only wake comes.
    const jobs: Store['reader']['jobs'] = async (filter) => {
      const found = await store.reader.jobs(filter)
      if (made === undefined) {
        made = await sealed('woken-between')
        await wake()
      }
      return found
    }
    const context = { ...coordinator.context, store: { ...store, reader: { ...store.reader, jobs } } }
    const handlers = handle((task) => finishJob(task).then(() => stop.abort()))
    const given = options(handlers, { signal: stop.signal, pollMs: NEVER_MS })
    await startWorker(context, coordinator.signer, queue, given).stopped
    expect(await job('aggregate/woken-between/1')).toMatchObject({ state: 'done', attempts: 1 })
  })

  it('runs no more jobs at a time than asked, however often it is woken', async () => {
    for (const name of ['many-1', 'many-2', 'many-3']) await sealed(name)
    let running = 0
    let most = 0
    let done = 0
    const stop = new AbortController()
    const handlers = handle(async (task) => {
      running += 1
      most = Math.max(most, running)
      await finishJob(task)
      running -= 1
      done += 1
      if (done === 3) stop.abort()
    })
    let wake = () => Promise.resolve()
    const queue: WakeQueue = {
      ...SILENT,
      consume(onWake) {
        wake = onWake
      },
    }
    const given = options(handlers, { concurrency: 2, signal: stop.signal, pollMs: 1 })
    const { stopped } = startWorker(coordinator.context, coordinator.signer, queue, given)
    await Promise.all(Array.from({ length: 20 }, () => wake()))
    await stopped
    expect(done).toBe(3)
    expect(most).toBeLessThanOrEqual(2)
  })
})

describe('a sweeper', () => {
  it('lets time pass for rounds, whoever else sweeps, and wakes for every job that is not done', async () => {
    const run = await testRun(coordinator, 'swept', { ...TEST_POLICY, continuous: false })
    const { key } = await store.transact('start', (tx) => openNextRound(tx, run.id, coordinator.clock.now()))
    const waiting = await sealed('waiting')
    const woken = new Set<string>()
    const wake = (id: string) => void woken.add(id)
    await sweep(coordinator.context, wake)
    expect((await store.reader.round(key))?.round.phase).toBe('open')
    coordinator.clock.advance(TEST_POLICY.joinWindowMs)
    await Promise.all([1, 2, 3].map(() => sweep(coordinator.context, wake)))
    const row = await store.reader.round(key)
    expect(row?.round.phase).toBe('failed')
    expect(row?.version).toBe(2)
    expect(woken).toContain(`aggregate/${waiting.run}/1`)
    await work(options(handle(finishJob)))
  })

  it('is not held up by a round that cannot move, nor ended by a database that does not answer', async () => {
    const name = (n: number) => testRun(coordinator, `stuck-${n}`, { ...TEST_POLICY, continuous: false })
    const at = coordinator.clock.now()
    const runs = [await name(1), await name(2)]
    const rows = await Promise.all(runs.map(({ id }) => store.transact('start', (tx) => openNextRound(tx, id, at))))
    coordinator.clock.advance(TEST_POLICY.joinWindowMs)
    let calls = 0
    const transact: Store['transact'] = (label, body) => {
      calls += 1
      if (calls === 1) return Promise.reject(new TapestryError('UNAVAILABLE', 'once'))
      return store.transact(label, body)
    }
    const context = { ...coordinator.context, store: { ...store, transact } }
    const phases = async () => Promise.all(rows.map(async ({ key }) => (await store.reader.round(key))?.round.phase))
    await sweep(context, () => {})
    expect((await phases()).sort()).toContain('failed')
    await sweep(context, () => {})
    expect(await phases()).toEqual(['failed', 'failed'])
    const roundsPastDeadline = () => Promise.reject(new TapestryError('UNAVAILABLE', 'gone'))
    await sweep({ ...context, store: { ...store, reader: { ...store.reader, roundsPastDeadline } } }, () => {})
  })
})

describe('sweeper, queue and worker together', () => {
  it('take a round to its end on wakes alone', async () => {
    const stop = new AbortController()
    const at = { databaseUrl: coordinator.databaseUrl }
    const [sender, receiver] = [
      await openWakeQueue(at, coordinator.context.log),
      await openWakeQueue(at, coordinator.context.log),
    ]
    const sweeper = startSweeper(coordinator.context, sender.wake, { signal: stop.signal })
    const given = { concurrency: 1, signal: stop.signal, pollMs: NEVER_MS }
    const worker = startWorker(coordinator.context, coordinator.signer, receiver, given)
    const key = await sealed('woken')
    await reaches(key, 'evaluating')
    for (const n of [1, 2, 3]) await evaluate(coordinator, key, n, 'sw', { base: 3, candidate: 4 })
    await reaches(key, 'rejected')
    stop.abort()
    await Promise.all([sweeper.stopped, worker.stopped])
    await Promise.all([sender.close(), receiver.close()])
  })
})

/** Ends a job without doing it. */
async function finishJob({ context, job: leased }: Task): Promise<void> {
  await context.store.transact('finish', (tx) => tx.finishJob(leased, context.clock.now()))
}
