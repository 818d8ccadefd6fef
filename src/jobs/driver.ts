import {
  type BackendFactory,
  createPostgresBackend,
  createRedisBackend,
  type IQueueBackend,
  runMigrations,
  withBackend,
} from 'bullmq'
import { Client } from 'pg'
import type { Logger } from 'pino'

/**
 * Wakes workers, nothing more: what is to be done, and by whom, is said by the store's leased rows.
 * A wake that is lost, doubled or late changes how soon a job runs, never whether or how often.
 */
export type WakeQueue = {
  /** Sends the id of a job that may be ready. Returns at once and never throws. */
  wake(jobId: string): void
  /** Calls `onWake` for wakes, at most `concurrency` at a time in this process. Call it once. */
  consume(onWake: () => Promise<void>, concurrency: number): void
  /** Stops consuming and disconnects, without waiting long for a queue that does not answer. */
  close(): Promise<void>
}

/** Redis when it is given, Postgres otherwise. */
export type WakeBackend = { readonly redisUrl?: string | undefined; readonly databaseUrl: string }

const QUEUE = 'tapestry-wake'
/** The namespace that the Postgres backend keeps its own tables in, apart from ours. */
const POSTGRES_SCHEMA = 'tapestry_wake'
/** A queue that is down must not hold up a shutdown. */
const CLOSE_MS = 3_000
const LONGEST_RETRY_MS = 2_000

/**
 * Connects to the queue. When it cannot be reached the returned queue is silent and workers live on
 * their own polls: that is logged once, and never an error.
 */
export async function openWakeQueue(at: WakeBackend, log: Logger): Promise<WakeQueue> {
  const { redisUrl, databaseUrl } = at
  if (redisUrl !== undefined) {
    return openQueue(createRedisBackend, (closing) => ({ url: redisUrl, retryStrategy: retryUntil(closing) }), log)
  }
  try {
    await migrate(databaseUrl)
  } catch (error) {
    log.warn({ err: error }, 'no wake queue: workers find their jobs by polling')
    return { wake() {}, consume() {}, async close() {} }
  }
  return openQueue(createPostgresBackend, () => ({ connectionString: databaseUrl, schema: POSTGRES_SCHEMA }), log)
}

/** Without an end to its retries a client of a dead Redis would keep the process alive after `close`. */
function retryUntil(closing: AbortSignal): (times: number) => number | null {
  return (times) => (closing.aborted ? null : Math.min(times * 100, LONGEST_RETRY_MS))
}

/** Safe with several starters at once: the migrations run in one transaction under an advisory lock. */
async function migrate(databaseUrl: string): Promise<void> {
  const client = new Client({ connectionString: databaseUrl })
  client.on('error', () => {})
  try {
    await client.connect()
    await runMigrations(client, POSTGRES_SCHEMA)
  } finally {
    await client.end()
  }
}

function openQueue<B extends IQueueBackend, C>(
  factory: BackendFactory<B, C>,
  connect: (closing: AbortSignal) => C,
  log: Logger,
): WakeQueue {
  const closing = new AbortController()
  const connection = connect(closing.signal)
  const { Queue, Worker } = withBackend(factory)
  const health = outageLog(log)
  const queue = new Queue(QUEUE, { connection, defaultJobOptions: { removeOnComplete: true, removeOnFail: true } })
  queue.on('error', health.failed)
  const pending = new Set<string>()
  const open: Closable[] = [queue]
  return {
    wake(jobId) {
      if (pending.has(jobId)) return
      pending.add(jobId)
      const sent = queue.add('wake', { id: jobId }, { jobId })
      void sent.then(health.works, health.failed).finally(() => pending.delete(jobId))
    },
    consume(onWake, concurrency) {
      const worker = new Worker(QUEUE, async () => onWake(), { connection, concurrency })
      worker.on('error', health.failed)
      open.unshift(worker)
    },
    async close() {
      health.end()
      closing.abort()
      await Promise.all(open.map((one) => within(CLOSE_MS, one.close())))
    },
  }
}

type Closable = { close(): Promise<void> }

/** Logs the begin and the end of an outage, not each of the many errors between them. */
function outageLog(log: Logger) {
  let state: 'up' | 'down' | 'ended' = 'up'
  return {
    failed(error: unknown): void {
      if (state === 'up') log.warn({ err: error }, 'the wake queue is down: workers find their jobs by polling')
      if (state === 'up') state = 'down'
    },
    works(): void {
      if (state === 'down') log.info('the wake queue is back')
      if (state === 'down') state = 'up'
    },
    /** Errors while closing say nothing. */
    end(): void {
      state = 'ended'
    },
  }
}

/** Waits for `work`, but no longer than `ms`; its failure is not ours either. */
async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work.catch(() => {}), timeout])
  clearTimeout(timer)
}
