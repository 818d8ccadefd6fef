import { hostname } from 'node:os'
import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { privateKeyFromPem } from '../core/signature.ts'
import type { WakeQueue } from '../jobs/driver.ts'
import { startWorker } from '../jobs/worker.ts'
import { openTracer } from '../telemetry/tracer.ts'
import { type CoordinatorOptions, openCoordinator } from './coordinator-parts.ts'
import { wakesFrom } from './parent-pipe.ts'
import { version } from './version.ts'

/** One job at a time a process: a merge uses the cores by itself; more processes give more. */
const CONCURRENCY = 1
/** A worker that its coordinator started is started again when there is work: resting longer would only keep memory. */
const REST_MS = 60_000

export type RunningWorker = {
  /** Resolves when the worker has ended, for whatever reason. */
  readonly stopped: Promise<void>
  /** Gives up the job in hand, which another worker takes over, and ends. */
  stop(): Promise<void>
}

/**
 * Starts a worker on a coordinator's directory and database.
 * @param parent what the coordinator that started this process wakes it through; absent for a worker of its own.
 * @throws TapestryError as openCoordinator.
 */
export async function startWorkerProcess(
  options: CoordinatorOptions,
  parent?: NodeJS.ReadableStream,
): Promise<RunningWorker> {
  const { context, secrets, databaseUrl } = await openCoordinator(options)
  const stopping = new AbortController()
  const queue = parent === undefined ? await openQueue(context, databaseUrl) : wakesFrom(parent)
  const signer = { key: privateKeyFromPem(secrets.releaseKey) }
  const tracer = await openTracer(options.env, 'tapestry-worker', version())
  const worker = startWorker(context, signer, queue, {
    concurrency: CONCURRENCY,
    signal: stopping.signal,
    restMs: parent && REST_MS,
    leaseMs: context.config.leaseMs,
    tracer,
    holdMs: context.config.holdMs,
    holder: `${hostname()}/${process.pid}`,
  })
  const stopped = worker.stopped.then(async () => {
    await tracer.close()
    await queue.close()
    await context.store.close()
  })
  return {
    stopped,
    async stop() {
      stopping.abort()
      await stopped
    },
  }
}

/** Loaded only here: a worker with a parent needs no queue. */
async function openQueue({ config, log }: Context, databaseUrl: string): Promise<WakeQueue> {
  const { openWakeQueue } = await import('../jobs/driver.ts')
  return openWakeQueue({ redisUrl: config.redisUrl, databaseUrl }, log)
}

/** Whether a worker could work here. @throws TapestryError as openCoordinator, UNAVAILABLE when the database is silent. */
export async function checkWorker(options: CoordinatorOptions): Promise<void> {
  const { context } = await openCoordinator(options)
  const ready = await context.store.ready()
  await context.store.close()
  if (!ready) throw new TapestryError('UNAVAILABLE', 'the database does not answer')
}
