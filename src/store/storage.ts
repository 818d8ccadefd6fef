import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { TapestryError } from '../core/error.ts'
import type { BlobStore } from './blob-store.ts'
import { openBlobs } from './blobs.ts'
import type { Reader } from './reader.ts'
import { freeBytesOf } from './uploads.ts'

/** The directory that a setting names, `file:<directory>`; the usual one without a setting. */
export function storageDirectory(setting: string | undefined, usual: string): string {
  return setting === undefined ? usual : resolve(setting.slice('file:'.length))
}

/** Opens the blob store in a directory, with the room that is left for it. */
export async function openStorage(
  directory: string,
): Promise<{ readonly blobs: BlobStore; readonly freeBytes: () => Promise<number> }> {
  return { blobs: await openBlobs(directory), freeBytes: () => freeBytesOf(directory) }
}

/**
 * Writes a few bytes where blobs are kept, and takes them away again.
 * @throws TapestryError UNAVAILABLE when that is not possible; DISK_FULL.
 */
export async function probeStorage(directory: string): Promise<void> {
  const path = join(directory, 'scratch', `probe-${randomUUID()}`)
  try {
    await writeFile(path, 'probe', { flag: 'wx' })
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new TapestryError('DISK_FULL', 'the storage has no room for a single file', { cause })
    }
    throw new TapestryError('UNAVAILABLE', `the storage cannot be written (${code})`, { cause })
  } finally {
    await rm(path, { force: true }).catch(() => {})
  }
}

/**
 * A replica whose blobs are not those of its database would lose what it is sent and miss what others were sent: every
 * channel's checkpoint has to be there.
 * @throws TapestryError DATA_INVALID
 */
export async function ensureStorageOf(
  reader: Pick<Reader, 'channels' | 'checkpoint'>,
  blobs: Pick<BlobStore, 'stat'>,
): Promise<void> {
  for (const { name, checkpoint } of await reader.channels()) {
    for (const { path, digest, size } of (await reader.checkpoint(checkpoint))?.files ?? []) {
      if ((await blobs.stat(digest))?.size === size) continue
      throw new TapestryError('DATA_INVALID', `${path} of the checkpoint of channel ${name} is not in the storage`, {
        hint: 'name the storage that belongs to the database (--storage); replicas share one',
      })
    }
  }
}
