import type { Clock } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { parseSummary, type Summary, summaryText } from '../model/summary.ts'
import type { BlobStore } from './blob-store.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { Store, Tx } from './store.ts'

/** What is known about the bytes of artifacts: questions. */
export function inspectionReads(database: Database): Pick<Reader, 'inspection'> {
  return {
    inspection: async (digest) => {
      const row = await database.inspection.findUnique({ where: { digest } })
      return row === null ? undefined : parseSummary(row.summary)
    },
  }
}

/** What is known about the bytes of artifacts: changes. */
export function inspectionWrites(database: Database): Pick<Tx, 'putInspections'> {
  return {
    putInspections: async (rows, now) => {
      if (rows.length === 0) return
      const texts = rows.map(({ summary }) => summaryText(summary))
      const digests = rows.map(({ digest }) => digest)
      await database.$executeRaw`
        INSERT INTO inspection (digest, summary, at)
        SELECT digest, summary, ${new Date(now)}::timestamptz FROM unnest(${digests}::text[], ${texts}::text[]) AS told(digest, summary)
        ON CONFLICT (digest) DO UPDATE SET summary = excluded.summary, at = excluded.at`
    },
  }
}

type Context = {
  readonly store: Pick<Store, 'reader' | 'transact'>
  readonly blobs: Pick<BlobStore, 'summarize'>
  readonly clock: Clock
}

/**
 * What a whole blob holds: as it was learned when it arrived, or, where nothing was kept of that, read from the disk.
 * @throws TapestryError NOT_FOUND without a whole blob.
 */
export async function summaryOf({ store, blobs, clock }: Context, digest: Digest): Promise<Summary> {
  const known = await store.reader.inspection(digest)
  if (known !== undefined) return known
  const summary = await blobs.summarize(digest)
  await store.transact('record-inspection', (tx) => tx.putInspections([{ digest, summary }], clock.now()))
  return summary
}
