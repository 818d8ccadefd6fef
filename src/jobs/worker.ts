import { setTimeout as delay } from 'node:timers/promises'
import type { Context, ReleaseSigner } from '../context.ts'
import { toTapestryError } from '../core/error.ts'
import { JOB_KINDS, type JobKind, type LeasedJob } from '../store/job-row.ts'
import type { Tx } from '../store/store.ts'
import { type JobOutcome, type JobWatch, UNWATCHED_JOBS } from '../telemetry/job-watch.ts'
import { inLogScope } from '../telemetry/log-scope.ts'
import { SILENT_TRACER, type Tracer } from '../telemetry/tracer.ts'
import { aggregate } from './aggregate.ts'
import { decide } from './decide.ts'
import type { WakeQueue } from './driver.ts'
import { holdLease } from './lease.ts'
import { override } from './override.ts'
import { revoke } from './revoke.ts'
import type { Task } from './task.ts'

export type WorkerOptions = {
  /** Jobs at a time in this process; a merge takes two threads and constant memory. */
  readonly concurrency: number
  /** Stops the worker. The job in hand is given up and somebody else's at once. */
  readonly signal: AbortSignal
  /** Looks for work this often without being woken. */
  readonly pollMs?: number
  /** Ends by itself after so long without a job or a wake; never when absent. */
  readonly restMs?: number | undefined
  /** After this long without renewal a job is somebody else's. */
  readonly leaseMs?: number
  /** How long the round of a job that was given up waits for an operator to ask for it again. */
  readonly holdMs?: number
  /** Tells operators which process this is. */
  readonly holder?: string
  /** First pause after a failure; it doubles with each attempt. */
  readonly retryMs?: number
  /** What runs for each kind of job. */
  readonly handlers?: Handlers
  readonly tracer?: Tracer
  /** Counts and times the jobs. */
  readonly watch?: JobWatch
}

export type Handlers = { readonly [kind in JobKind]: (task: Task) => Promise<void> }

export const HANDLERS: Handlers = { aggregate, decide, override, revoke }

/** A job that failed this often is abandoned; its round waits a while for an operator, then fails. */
const MOST_ATTEMPTS = 5
const POLL_MS = 2_000
/** Long enough for a pause of the whole machine, short enough that a dead worker's job is soon taken over. */
const LEASE_MS = 60_000
/** Long enough to be woken, to make room on a disk, and to ask again. */
const HOLD_MS = 3_600_000
const RETRY_MS = 1_000

/**
 * Works on leased jobs until `options.signal` aborts or nothing was to do for `options.restMs`: when the queue wakes it, and by its own poll,
 * so that the queue is never needed. Any number of workers in any number of processes may run.
 * @returns a promise that resolves when the last job in hand is out of it. It never rejects.
 */
export function startWorker(
  context: Context,
  signer: ReleaseSigner,
  queue: WakeQueue,
  options: WorkerOptions,
): { readonly stopped: Promise<void> } {
  const busy = new Set<Promise<void>>()
  let wantedAt = context.clock.now()
  // A wake that finds no free hand: whoever is busy may have looked before its job was there, and found nothing.
  let missed = false
  const kick = (): Promise<void> => {
    if (options.signal.aborted) return Promise.resolve()
    missed = busy.size >= options.concurrency
    if (missed) return Promise.resolve()
    const loop = workUntilIdle(context, signer, options).then((worked) => {
      if (worked) wantedAt = context.clock.now()
      busy.delete(loop)
      if (missed) return kick()
    })
    busy.add(loop)
    return loop
  }
  const wake = () => {
    wantedAt = context.clock.now()
    return kick()
  }
  const isOver = () => busy.size === 0 && context.clock.now() - wantedAt >= (options.restMs ?? Number.POSITIVE_INFINITY)
  queue.consume(wake, options.concurrency)
  return { stopped: poll(kick, isOver, options).then(async () => void (await Promise.all(busy))) }
}

async function poll(kick: () => Promise<void>, isOver: () => boolean, options: WorkerOptions): Promise<void> {
  const { signal, pollMs = POLL_MS } = options
  while (!signal.aborted && !isOver()) {
    void kick()
    await delay(pollMs, undefined, { signal }).catch(() => {})
  }
}

/**
 * Runs one job after another until none can be leased. Never rejects: what fails is logged and tried again.
 * @returns whether there was any.
 */
export async function workUntilIdle(context: Context, signer: ReleaseSigner, options: WorkerOptions): Promise<boolean> {
  let worked = false
  try {
    while (!options.signal.aborted && (await workOnce(context, signer, options))) worked = true
  } catch (error) {
    context.log.error({ err: error }, 'the worker could not reach its jobs')
  }
  return worked
}

/** On a disk that is nearly full work would fail until it is given up, and its round with it: it waits for room instead. */
async function hasRoom({ freeBytes, config, log }: Context): Promise<boolean> {
  const free = await freeBytes()
  if (free >= config.minMergeBytes) return true
  log.warn({ free, needed: config.minMergeBytes }, 'too little room on the disk: work waits')
  return false
}

/** While the storage is away work would fail until it is given up as well. */
async function storageAnswers({ blobs, log }: Context): Promise<boolean> {
  try {
    await blobs.check()
    return true
  } catch (error) {
    log.warn({ err: error }, 'the storage does not answer: work waits')
    return false
  }
}

/** Leases a job and runs it to its end. False when there is none. */
async function workOnce(context: Context, signer: ReleaseSigner, options: WorkerOptions): Promise<boolean> {
  const leaseMs = options.leaseMs ?? LEASE_MS
  // A look costs nothing; an idle worker's serializable transactions would conflict with those that make jobs.
  if ((await context.store.reader.jobs({ states: ['ready', 'leased'], limit: 1 })).length === 0) return false
  if (!(await hasRoom(context)) || !(await storageAnswers(context))) return false
  const job = await context.store.transact('lease-job', (tx) =>
    tx.leaseJob(JOB_KINDS, context.clock.now(), leaseMs, options.holder),
  )
  if (job === undefined) return false
  await inLogScope({ job: job.id }, () => work({ context, signer, job }, leaseMs, options))
  return true
}

async function work(leased: Omit<Task, 'signal'>, leaseMs: number, options: WorkerOptions): Promise<void> {
  const lease = holdLease(leased.context, leased.job, leaseMs, options.signal)
  const task = { ...leased, signal: lease.signal }
  const ended = (options.watch ?? UNWATCHED_JOBS)(task.job.kind)
  let outcome: JobOutcome = 'lost'
  try {
    await run(task, options)
    outcome = 'done'
  } catch (error) {
    outcome = await fail(task, error, options)
  } finally {
    lease.release()
    ended(outcome)
  }
}

async function run(task: Task, { handlers = HANDLERS, tracer = SILENT_TRACER }: WorkerOptions): Promise<void> {
  const { kind, key, attempts } = task.job
  // A job that kills its workers never reports a failure: leases taken are counted instead.
  if (attempts > MOST_ATTEMPTS) throw new Error('the workers that tried it died or stopped answering')
  const attributes = { 'tapestry.run': key.run, 'tapestry.round': key.number, 'tapestry.attempt': attempts }
  const span = tracer.begin(`job ${kind}`, 'internal', attributes)
  try {
    await handlers[kind](task)
    span.end('OK')
  } catch (thrown) {
    span.end(toTapestryError(thrown).code)
    throw thrown
  }
}

/**
 * Puts a failed job back, or abandons it. The pause before that is taken
 * with the lease in hand: whatever failed is left alone for that long by everybody.
 */
async function fail(task: Task, thrown: unknown, options: WorkerOptions): Promise<JobOutcome> {
  const { context, job, signal } = task
  context.log.warn({ job: job.id, attempt: job.attempts, err: thrown }, 'a job failed')
  const pause = job.attempts < MOST_ATTEMPTS ? (options.retryMs ?? RETRY_MS) * 2 ** (job.attempts - 1) : 0
  await delay(pause, undefined, { signal }).catch(() => {})
  if (options.signal.aborted) return giveUp(task)
  const limits = { mostAttempts: MOST_ATTEMPTS, holdMs: options.holdMs ?? HOLD_MS }
  const failJob = (tx: Tx) => tx.failJob(job, reasonOf(thrown), limits, context.clock.now())
  const state = await context.store.transact('fail-job', failJob)
  if (state === false) return 'lost'
  return state === 'abandoned' ? 'abandoned' : 'failed'
}

/** A stopping worker lets its lease end now: the job did nothing wrong. */
async function giveUp({ context, job }: { context: Context; job: LeasedJob }): Promise<JobOutcome> {
  await context.store.transact('return-job', (tx) => tx.renewLease(job, context.clock.now(), 0))
  return 'returned'
}

/** What operators read in the job's and the round's rows: a code and a sentence, no internals. */
function reasonOf(thrown: unknown): string {
  const error = toTapestryError(thrown)
  return `${error.code}: ${error.message}`
}
