import type { FileHandle } from 'node:fs/promises'
import type { Pass } from './pass-threads.ts'

/** Enough for a disk to write in one go. */
const FLUSH_BYTES = 16 * 2 ** 20

/** A pass whose bytes can be waited for. */
export type DurablePass = Pass & {
  /** Resolves when everything that was pushed survives a power cut. @throws the system's error, also of an earlier flush. */
  durable(): Promise<void>
}

/** One at a time in a process: a flush holds one of the few threads that all its file operations share. */
let flushing = false

/**
 * Sends what a pass has written to the disk while more arrives. Left to itself the system begins when it is asked for
 * the whole: at the end, while the sender waits, and all senders of a round at the same moment.
 */
export function writeBehind(pass: Pass, file: Pick<FileHandle, 'datasync'>): DurablePass {
  let unflushed = 0
  let flushed: Promise<void> = Promise.resolve()
  const flush = () => {
    flushing = true
    unflushed = 0
    flushed = flushed
      .then(() => file.datasync())
      .finally(() => {
        flushing = false
      })
    // The system tells of a failed write once: durable() passes it on.
    flushed.catch(() => undefined)
  }
  return {
    ...pass,
    async push(block, length) {
      await pass.push(block, length)
      unflushed += length
      if (unflushed >= FLUSH_BYTES && !flushing) flush()
    },
    async durable() {
      await flushed
      await file.datasync()
    },
  }
}
