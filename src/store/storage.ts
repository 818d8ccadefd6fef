import { randomUUID } from 'node:crypto'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { TapestryError } from '../core/error.ts'
import type { BlobStore } from './blob-store.ts'
import { blobUsageOf } from './blob-usage.ts'
import { openBlobs } from './blobs.ts'
import type { Reader } from './reader.ts'
import { isS3, s3Location } from './s3/location.ts'
import { freeBytesOf } from './uploads.ts'

/** A blob store, and what its operator wants to know of it. */
export type Storage = {
  /** For people; no secrets. */
  readonly where: string
  readonly blobs: BlobStore
  /** Bytes that may still arrive on this machine. */
  readonly freeBytes: () => Promise<number>
  /** Whole blobs in it. Reads every name: not for each request. */
  readonly usage: () => Promise<{ readonly count: number; readonly bytes: number }>
  /** Writes, reads and clears something. @throws TapestryError saying what does not work. */
  readonly probe: () => Promise<void>
}

/** Directories of a coordinator that storages use: `blobs` is one, `spool` belongs to those that are elsewhere. */
export type StoragePaths = { readonly blobs: string; readonly spool: string }

/**
 * Opens the storage that a setting names: `file:<directory>`, `s3://<bucket>/<prefix>?...`, or the usual directory without one.
 * @throws TapestryError INVALID_ARGUMENT, and as `openS3`.
 */
export async function openStorage(setting: string | undefined, paths: StoragePaths): Promise<Storage> {
  if (setting === undefined || !isS3(setting)) return openDirectory(storageDirectory(setting, paths.blobs))
  const location = s3Location(setting)
  // Loaded here: the client costs what most commands take in all.
  const { openS3 } = await import('./s3/open.ts')
  return openS3(location, paths.spool)
}

/** The directory that a setting names, `file:<directory>`; the usual one without a setting. */
export function storageDirectory(setting: string | undefined, usual: string): string {
  return setting === undefined ? usual : resolve(setting.slice('file:'.length))
}

async function openDirectory(directory: string): Promise<Storage> {
  const blobs = await openBlobs(directory)
  return {
    where: directory,
    blobs,
    freeBytes: () => freeBytesOf(directory),
    usage: () => blobUsageOf(directory),
    async probe() {
      const mark = randomUUID()
      const { digest } = await blobs.put(Buffer.from(mark))
      const read = await text(await blobs.open(digest))
      await blobs.remove(digest)
      if (read !== mark) throw new TapestryError('DATA_INVALID', 'it gave other bytes back', { hint: 'check the disk' })
    },
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
