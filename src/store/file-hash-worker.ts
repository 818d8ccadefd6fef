import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import type { HashAnswer, HashQuestion } from './file-hash.ts'

/** Large enough to keep the disk busy, small enough to stay in the processor's cache. */
const PIECE_BYTES = 1024 * 1024
const piece = Buffer.allocUnsafe(PIECE_BYTES)

// Blocking reads: this thread has nothing else to do, and they are the fastest.
parentPort?.on('message', ({ id, path }: HashQuestion) => parentPort?.postMessage(answer(id, path)))

function answer(id: number, path: string): HashAnswer {
  try {
    return { id, hex: hashOf(path) }
  } catch (error) {
    return { id, failure: error instanceof Error ? error.message : String(error) }
  }
}

function hashOf(path: string): string {
  const hash = createHash('sha256')
  const file = openSync(path, 'r')
  try {
    for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) hash.update(piece.subarray(0, read))
  } finally {
    closeSync(file)
  }
  return hash.digest('hex')
}
