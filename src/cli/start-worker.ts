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
import { monitorWorker } from './worker-monitor.ts'

/** One job at a time a process: a merge uses the cores by itself; more processes give more. */
const CONCURRENCY = 1
/** A worker that its coordinator started is started again when there is work: resting longer would only keep memory. */
const REST_MS = 60_000

export type RunningWorker = {
  /** Resolves when the worker has ended, for whatever reason. */
  readonly stopped: Promise<void>
  /** `host:port` of /metrics, /healthz and /readyz; undefined when nobody is to watch. */
  readonly metrics: string | undefined
  /** Gives up the job in hand, which another worker takes over, and ends. */
  stop(): Promise<void>
}

/**
 * Starts a worker on a coordinator's directory and database.
 * @param parent what the coordinator that started this process wakes it through; absent for a worker of its own.
 * @param watched `host:port` for whoever watches this worker; nobody does when it is absent.
 * @throws TapestryError as openCoordinator; PORT_IN_USE.
 */
export async function startWorkerProcess(
  options: CoordinatorOptions,
  {
    parent,
    watched,
  }: { readonly parent?: NodeJS.ReadableStream | undefined; readonly watched?: string | undefined } = {},
): Promise<RunningWorker> {
  const parts = await openCoordinator(options)
  const { context, secrets, databaseUrl } = parts
  const monitor = await monitorWorker(parts, watched).catch(async (error) => {
    await parts.abandon().catch(() => undefined)
    throw error
  })
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
    watch: monitor.jobs,
    holdMs: context.config.holdMs,
    holder: `${hostname()}/${process.pid}`,
  })
  const stopped = worker.stopped.then(async () => {
    await monitor.close()
    await tracer.close()
    await queue.close()
    await context.store.close()
  })
  return {
    stopped,
    metrics: monitor.address,
    async stop() {
      monitor.drain()
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
