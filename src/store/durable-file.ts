import { chmod, type FileHandle, mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TapestryError } from '../core/error.ts'
import type { ByteSource } from './blob-store.ts'

/** What is asked of the disk; names the failures that callers tell apart. @throws TapestryError DISK_FULL. */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!hasCode(error, 'ENOSPC') && !hasCode(error, 'EDQUOT')) throw error
    throw new TapestryError('DISK_FULL', 'no space left for blobs', {
      cause: error,
      hint: 'Free space on the disk of the blob directory; nothing that was acknowledged is lost.',
    })
  }
}

/**
 * Writes a source at a position, at most `most` bytes, one piece after the other.
 * @returns bytes written, and whether the source held more than `most`.
 */
export async function writeFrom(
  file: FileHandle,
  position: number,
  most: number,
  source: ByteSource,
): Promise<{ readonly written: number; readonly overflow: boolean }> {
  let written = 0
  for await (const piece of source instanceof Uint8Array ? [source] : source) {
    const fitting = piece.subarray(0, most - written)
    await writeAll(file, position + written, fitting)
    written += fitting.byteLength
    if (fitting.byteLength < piece.byteLength) return { written, overflow: true }
  }
  return { written, overflow: false }
}

/** A write may be short, for example just before the disk is full. */
async function writeAll(file: FileHandle, position: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, position + done)
    done += bytesWritten
  }
}

/**
 * Gives a finished file its name for good: contents first, then the name, then the directories
 * that lead to it, so that after a power cut the name is absent or right.
 */
export async function settleFile(from: string, to: string): Promise<void> {
  const file = await open(from, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
  await chmod(from, 0o444)
  const made = await mkdir(dirname(to), { recursive: true })
  await rename(from, to)
  await syncDirectory(dirname(to))
  if (made !== undefined) await syncDirectory(dirname(dirname(to)))
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Runs a file operation; undefined when the file does not exist. */
export async function ifPresent<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** True for a system error with this code. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
