import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'

/**
 * Starts a worker thread on a module beside the caller's, from source as well as from the build.
 * @param module path of the module relative to `from`, without its extension, such as `./merge-worker`
 * @param from the caller's `import.meta.url`
 * @param workerData what the module finds as `workerData`: structured-cloned
 */
export function startWorker(module: string, from: string, workerData?: unknown): Worker {
  const extension = extname(new URL(from).pathname)
  const loader = new URL('./source-loader.mjs', import.meta.url)
  return new Worker(new URL(`${module}${extension}`, from), {
    workerData,
    execArgv: extension === '.ts' ? ['--import', loader.href] : [],
  })
}
