import { attestationReads, attestationWrites } from './attestations.ts'
import { blobHolderReads } from './blob-holders.ts'
import { censusReads } from './census.ts'
import { type Database, openClient } from './database.ts'
import { datasetRecordReads, datasetRecordWrites } from './dataset-records.ts'
import { diagnosticsReads, diagnosticsWrites } from './diagnostics.ts'
import { faultOf } from './fault.ts'
import { gathered } from './gathered-reads.ts'
import { inspectionReads, inspectionWrites } from './inspections.ts'
import { jobReads, jobWrites } from './jobs.ts'
import { ledgerReads, ledgerWrites } from './ledger.ts'
import { memberReads, memberWrites } from './members.ts'
import { NoticeBoard, publishNotices } from './notices.ts'
import { Numberer } from './numberer.ts'
import { operatorReads, operatorWrites } from './operators.ts'
import type { Reader } from './reader.ts'
import { releaseReads, releaseWrites } from './releases.ts'
import { reviewReads, reviewWrites } from './reviews.ts'
import { revocationReads, revocationWrites } from './revocations.ts'
import { roundReads, roundWrites } from './rounds.ts'
import type { Notice, Store, Tx } from './store.ts'
import { submissionReads, submissionWrites } from './submissions.ts'
import { summaryReads } from './summary.ts'
import { Transactor } from './transactor.ts'

/**
 * Opens the store on a PostgreSQL database that {@link migrate} has brought to this build's schema.
 * @throws TapestryError UNAVAILABLE when the database does not answer.
 */
export async function openStore({ url }: { readonly url: string }): Promise<Store> {
  const { client, pool } = openClient(url)
  const board = new NoticeBoard(url)
  const transactor = new Transactor(client)
  const numberer = new Numberer(client)
  try {
    await client.$queryRaw`SELECT 1`
  } catch (thrown) {
    await client.$disconnect()
    throw faultOf(thrown).error
  }
  return {
    reader: withFaults(gathered(readerOf(client))),
    transact: (name, work, isolation) => transactor.run(name, (database) => inTransaction(database, work), isolation),
    numberEntries: () => numberer.run(),
    listen: (onNotice) => board.listen(onNotice),
    ready: () =>
      client.$queryRaw`SELECT 1`.then(
        () => true,
        () => false,
      ),
    pool: () => ({ open: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: async () => {
      await board.close()
      await client.$disconnect()
    },
  }
}

/** Notices are sent by the last statement, so that they exist exactly when the changes do. */
async function inTransaction<T>(database: Database, work: (tx: Tx) => Promise<T>): Promise<T> {
  const notices: Notice[] = []
  const result = await work(txOf(database, (notice) => notices.push(notice)))
  await publishNotices(database, notices)
  return result
}

function readerOf(database: Database): Reader {
  return {
    ...memberReads(database),
    ...datasetRecordReads(database),
    ...roundReads(database),
    ...submissionReads(database),
    ...inspectionReads(database),
    ...blobHolderReads(database),
    ...reviewReads(database),
    ...diagnosticsReads(database),
    ...operatorReads(database),
    ...releaseReads(database),
    ...attestationReads(database),
    ...revocationReads(database),
    ...jobReads(database),
    ...summaryReads(database),
    ...censusReads(database),
    ...ledgerReads(database),
  }
}

function txOf(database: Database, notify: (notice: Notice) => void): Tx {
  return {
    ...readerOf(database),
    ...memberWrites(database),
    ...datasetRecordWrites(database),
    ...roundWrites(database, notify),
    ...submissionWrites(database),
    ...inspectionWrites(database),
    ...reviewWrites(database),
    ...diagnosticsWrites(database),
    ...operatorWrites(database),
    ...releaseWrites(database),
    ...attestationWrites(database),
    ...revocationWrites(database),
    ...jobWrites(database, notify),
    ...ledgerWrites(database),
  }
}

/** Outside a transaction nothing classifies what a query throws, so each method does. */
function withFaults(reader: Reader): Reader {
  return new Proxy(reader, {
    get: (target, name, receiver) => {
      const method: unknown = Reflect.get(target, name, receiver)
      if (typeof method !== 'function') return method
      return async (...args: unknown[]) => {
        try {
          return await Reflect.apply(method, target, args)
        } catch (thrown) {
          throw faultOf(thrown).error
        }
      }
    },
  })
}
