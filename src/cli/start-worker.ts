import { TapestryError } from '../core/error.ts'
import { privateKeyFromPem } from '../core/signature.ts'
import { openWakeQueue } from '../jobs/driver.ts'
import { startWorker } from '../jobs/worker.ts'
import { type CoordinatorOptions, openCoordinator } from './coordinator-parts.ts'

/** One job at a time a process: a merge uses the cores by itself; more processes give more. */
const CONCURRENCY = 1

export type RunningWorker = {
  /** Resolves when the worker has ended, for whatever reason. */
  readonly stopped: Promise<void>
  /** Gives up the job in hand, which another worker takes over, and ends. */
  stop(): Promise<void>
}

/** Starts a worker on a coordinator's directory and database. @throws TapestryError as openCoordinator. */
export async function startWorkerProcess(options: CoordinatorOptions): Promise<RunningWorker> {
  const { context, secrets, databaseUrl } = await openCoordinator(options)
  const stopping = new AbortController()
  const queue = await openWakeQueue({ redisUrl: context.config.redisUrl, databaseUrl }, context.log)
  const signer = { key: privateKeyFromPem(secrets.releaseKey) }
  const { leaseMs } = context.config
  const worker = startWorker(context, signer, queue, { concurrency: CONCURRENCY, signal: stopping.signal, leaseMs })
  const stopped = worker.stopped.then(async () => {
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

/** Whether a worker could work here. @throws TapestryError as openCoordinator, UNAVAILABLE when the database is silent. */
export async function checkWorker(options: CoordinatorOptions): Promise<void> {
  const { context } = await openCoordinator(options)
  const ready = await context.store.ready()
  await context.store.close()
  if (!ready) throw new TapestryError('UNAVAILABLE', 'the database does not answer')
}
