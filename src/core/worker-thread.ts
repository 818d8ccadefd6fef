import { Worker } from 'node:worker_threads'
import { entryPoint } from './entry-point.ts'

/**
 * Starts a worker thread on a module beside the caller's. Loaders that this process began with are not inherited: the
 * module is plain JavaScript, and a loader would take a second of each thread.
 * @param module path of the module relative to `from`, without its extension, such as `./merge-worker`
 * @param from the caller's `import.meta.url`
 * @param workerData what the module finds as `workerData`: structured-cloned
 */
export function startWorker(module: string, from: string, workerData?: unknown): Worker {
  return new Worker(entryPoint(module, from), { workerData, execArgv: [] })
}
