import type { Clock } from '../core/clock.ts'
import { unheldBlobs } from '../policy/blob-holder.ts'
import type { Blob, BlobStore } from '../store/blob-store.ts'
import type { Reader } from '../store/reader.ts'

/** What nothing refers to, and what was deleted of it: nothing in a dry run. */
export type Garbage = { readonly found: Total; readonly deleted: Total }
type Total = { readonly blobs: number; readonly bytes: number }

/** What collecting needs: a Context. */
export type GarbageContext = {
  readonly blobs: Pick<BlobStore, 'old' | 'removeOld'>
  readonly store: { readonly reader: Pick<Reader, 'blobHolders'> }
  readonly clock: Clock
}

/** Longer than anything takes from storing bytes to referring to them. */
export const GRACE_MS = 24 * 3_600_000
/** Asked about in one query. */
const BATCH = 5000

/**
 * Deletes whole blobs that nothing refers to and that nobody has stored or renewed for `graceMs`. Whoever is about
 * to refer to a blob renews it before its transaction, so that what is found unreferenced here is either still
 * so when it goes, or younger than the grace and left alone. May run anywhere, at any time, and several times at once.
 */
export async function collectGarbage(
  { blobs, store, clock }: GarbageContext,
  { graceMs = GRACE_MS, dryRun = false }: { readonly graceMs?: number; readonly dryRun?: boolean } = {},
): Promise<Garbage> {
  const before = clock.now() - graceMs
  let [found, deleted]: [Total, Total] = [NOTHING, NOTHING]
  for await (const batch of batches(blobs.old(before))) {
    const digests = batch.map(({ digest }) => digest)
    const unheld = new Set(unheldBlobs(digests, await store.reader.blobHolders(digests)))
    for (const blob of batch.filter(({ digest }) => unheld.has(digest))) {
      found = plus(found, blob)
      if (!dryRun && (await blobs.removeOld(blob.digest, before))) deleted = plus(deleted, blob)
    }
  }
  return { found, deleted }
}

const NOTHING: Total = { blobs: 0, bytes: 0 }

function plus({ blobs, bytes }: Total, { size }: Blob): Total {
  return { blobs: blobs + 1, bytes: bytes + size }
}

async function* batches(all: AsyncIterable<Blob>): AsyncGenerator<readonly Blob[]> {
  let batch: Blob[] = []
  for await (const blob of all) {
    batch.push(blob)
    if (batch.length < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
