import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'

/**
 * Starts a worker thread from a module beside the caller's: `startThread('inspector-worker', import.meta.url)`.
 * Runs the compiled module; from a source tree, where `--import tsx` does not reach worker threads on
 * Node 20, the thread first registers tsx for itself.
 */
export function startThread(name: string, callerUrl: string): Worker {
  const extension = extname(callerUrl)
  const entry = new URL(`./${name}${extension}`, callerUrl)
  if (extension === '.js') return new Worker(entry)
  const boot = `import('tsx/esm/api').then((tsx) => { tsx.register(); return import(${JSON.stringify(entry.href)}) })`
  return new Worker(boot, { eval: true, execArgv: [] })
}
