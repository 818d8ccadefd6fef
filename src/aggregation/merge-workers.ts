import type { Worker } from 'node:worker_threads'
import { isErrorCode, TapestryError } from '../core/error.ts'
import { startWorker } from '../core/worker-thread.ts'
import { ELEMENT_BYTES } from './merge-layout.ts'
import { runPass } from './merge-pass.ts'
import type { MergeNotice, WorkerTask } from './merge-task.ts'

/** How a caller follows a pass and ends it. */
export type Watch = {
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Runs one pass over the deltas on `threads` workers and ends them all, whatever happens; with none, on this thread.
 * @throws TapestryError what the first worker to fail says; the reason of `signal`
 */
export async function runWorkers(task: WorkerTask, threads: number, { onProgress, signal }: Watch): Promise<void> {
  signal?.throwIfAborted()
  const total = task.elements * ELEMENT_BYTES
  let done = 0
  const onFolded = (elements: number) => {
    done += elements * ELEMENT_BYTES
    onProgress?.(done, total)
  }
  if (threads === 0) return runPass(task, onFolded)
  const workers = Array.from({ length: threads }, () => startWorker('./merge-worker', import.meta.url, task))
  const stop = abortion(signal)
  try {
    await Promise.race([Promise.all(workers.map((worker) => finished(worker, onFolded))), stop.aborted])
  } finally {
    stop.forget()
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
}

function finished(worker: Worker, onFolded: (elements: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('error', reject)
    worker.on('exit', (code) => reject(new TapestryError('INTERNAL', `a merge worker ended early with code ${code}`)))
    worker.on('message', (notice: MergeNotice) => {
      try {
        if (notice.kind === 'folded') onFolded(notice.elements)
        else if (notice.kind === 'finished') resolve()
        else reject(new TapestryError(isErrorCode(notice.code) ? notice.code : 'INTERNAL', notice.message))
      } catch (cause) {
        // A progress callback that throws ends the merge, not the process.
        reject(cause)
      }
    })
  })
}

function abortion(signal: AbortSignal | undefined): { readonly aborted: Promise<never>; readonly forget: () => void } {
  let onAbort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
  aborted.catch(() => {})
  return { aborted, forget: () => signal?.removeEventListener('abort', onAbort) }
}
