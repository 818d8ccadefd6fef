import { randomUUID } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { TapestryError } from '../core/error.ts'

/**
 * Writes a file that appears whole or not at all: under another name in the same directory,
 * synced, then renamed over `path`.
 * @throws TapestryError DISK_FULL; NOT_FOUND when the directory is missing
 */
export async function writeWhole(path: string, parts: readonly Uint8Array[]): Promise<void> {
  await fillWhole(path, async (file) => {
    for (const part of parts) await file.writeFile(part)
  })
}

/** {@link writeWhole} by a function that may write anywhere in the file. @throws as it does, and what `fill` throws */
export async function fillWhole(path: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  try {
    await writeSynced(temporary, fill)
    await rename(temporary, path)
    await syncDirectory(dirname(path))
  } catch (cause) {
    await rm(temporary, { force: true })
    throw fileError(path, cause)
  }
}

async function writeSynced(path: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await fill(file)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Makes the rename itself survive a power cut. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Gives the file system's common refusals a code; anything else is passed through. */
export function fileError(path: string, cause: unknown): unknown {
  switch (cause instanceof Error && 'code' in cause ? cause.code : undefined) {
    case 'ENOENT':
      return new TapestryError('NOT_FOUND', `no such file or directory: ${path}`, { cause })
    case 'ENOSPC':
      return new TapestryError('DISK_FULL', `no space left to write ${path}`, { cause })
    case 'EISDIR':
      return new TapestryError('DATA_INVALID', `${path} is a directory`, { cause })
    default:
      return cause
  }
}
