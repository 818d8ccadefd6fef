import { chmod, mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TapestryError } from '../core/error.ts'

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
