import { readFile, stat } from 'node:fs/promises'
import type { Worker } from 'node:worker_threads'
import { type Digest, digestOf, fromHex } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { startWorker } from '../core/worker-thread.ts'

/** What the thread is asked, and what it answers. */
export type HashQuestion = { readonly id: number; readonly path: string }
export type HashAnswer =
  | { readonly id: number; readonly hex: string }
  | { readonly id: number; readonly failure: string }

/** Hashing this much takes less time than telling a thread. */
const SMALL_BYTES = 256 * 1024

type Waiting = { readonly resolve: (digest: Digest) => void; readonly reject: (error: Error) => void }

let thread: Worker | undefined
let lastId = 0
const waiting = new Map<number, Waiting>()

/**
 * The digest of a file, computed off the event loop. All files of a process take turns on one
 * thread: the disk, not the processor, is what several would compete for.
 * @throws TapestryError INTERNAL when the file cannot be read.
 */
export async function hashFile(path: string): Promise<Digest> {
  const { size } = await stat(path)
  if (size <= SMALL_BYTES) return digestOf(await readFile(path))
  thread ??= startHashing()
  const worker = thread
  const id = ++lastId
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject })
    worker.ref()
    worker.postMessage({ id, path } satisfies HashQuestion)
  })
}

function startHashing(): Worker {
  const worker = startWorker('./file-hash-worker', import.meta.url)
  worker.on('message', (answer: HashAnswer) => settle(worker, answer))
  worker.on('error', (error) => giveUp(worker, error))
  worker.on('exit', () => giveUp(worker, undefined))
  return worker
}

function settle(worker: Worker, answer: HashAnswer): void {
  const caller = waiting.get(answer.id)
  waiting.delete(answer.id)
  // An idle thread must not keep the process alive.
  if (waiting.size === 0) worker.unref()
  if ('hex' in answer) caller?.resolve(fromHex(answer.hex))
  else caller?.reject(new TapestryError('INTERNAL', 'a file cannot be hashed', { cause: new Error(answer.failure) }))
}

function giveUp(worker: Worker, cause: unknown): void {
  if (thread !== worker) return
  thread = undefined
  for (const { reject } of waiting.values()) {
    reject(new TapestryError('INTERNAL', 'the hashing thread ended', { cause }))
  }
  waiting.clear()
}
