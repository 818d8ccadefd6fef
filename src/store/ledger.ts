import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { entryBytes, type LedgerEvent, subjectOf } from '../ledger/entry.ts'
import { GrowingTree } from '../ledger/merkle.ts'
import { MAX_ENTRY_BYTES, TILE_WIDTH } from '../ledger/tile.ts'
import type { Database } from './database.ts'
import type { LogEntry, Reader } from './reader.ts'
import type { Tx } from './store.ts'

type Reads = Pick<Reader, 'ledgerHead' | 'ledgerHashes' | 'ledgerEntries' | 'ledgerEntryAbout' | 'ledgerEntriesAbout'>

/** The one row of ledger_head. */
const HEAD = { id: 1 } as const

/** The log: questions. */
export function ledgerReads(database: Database): Reads {
  return {
    ledgerHead: async () => {
      const { size, frontier } = await database.ledgerHead.findUniqueOrThrow({ where: HEAD })
      const tree = new GrowingTree(Number(size), frontier)
      return { size: tree.size, root: tree.root }
    },
    ledgerHashes: async ({ level, index, width }) => {
      const first = index * TILE_WIDTH
      const [row] = await database.$queryRaw<{ hashes: Uint8Array | null }[]>`
        SELECT string_agg(hash, ''::bytea ORDER BY index) AS hashes FROM ledger_hash
        WHERE level = ${level} AND index >= ${BigInt(first)} AND index < ${BigInt(first + width)}`
      return row?.hashes ?? new Uint8Array()
    },
    ledgerEntries: async (start, limit) => {
      const where = { index: { gte: BigInt(start), lt: BigInt(start + limit) } }
      const rows = await database.ledgerEntry.findMany({ where, orderBy: { index: 'asc' }, select: { document: true } })
      return rows.map(({ document }) => Buffer.from(document, 'utf8'))
    },
    ledgerEntryAbout: async (subject) => (await entriesAbout(database, [subject])).get(subject),
    ledgerEntriesAbout: (subjects) => entriesAbout(database, subjects),
  }
}

/** Where there are several about one subject, the first stays. */
async function entriesAbout(database: Database, subjects: readonly string[]): Promise<ReadonlyMap<string, LogEntry>> {
  const where = { subject: { in: [...subjects] } }
  const rows = await database.ledgerEntry.findMany({ where, orderBy: { index: 'desc' } })
  return new Map(
    rows.map(({ subject, index, document }): [string, LogEntry] => {
      return [subject ?? '', { index: Number(index), entry: Buffer.from(document, 'utf8') }]
    }),
  )
}

function documentOf(event: LedgerEvent, now: Millis): string {
  const bytes = entryBytes(event, now)
  if (bytes.byteLength > MAX_ENTRY_BYTES) {
    throw new TapestryError('INVALID_ARGUMENT', `an entry of ${bytes.byteLength} bytes does not fit into the log`)
  }
  return Buffer.from(bytes).toString('utf8')
}

/** The log: what may be added. */
export function ledgerWrites(database: Database): Pick<Tx, 'appendToLedger' | 'bindLedgerKey'> {
  return {
    appendToLedger: async (events, now) => {
      const data = [events].flat().map((event) => ({ subject: subjectOf(event), document: documentOf(event, now) }))
      if (data.length > 0) await database.ledgerPending.createMany({ data })
    },
    bindLedgerKey: async (keyId) => {
      const bound = await database.ledgerHead.findUniqueOrThrow({ where: HEAD })
      if (bound.keyId === keyId) return false
      if (bound.keyId !== null) {
        throw new TapestryError(
          'FAILED_PRECONDITION',
          'this log is signed by another key than the one in keys/log.key',
          {
            hint: 'restore log.key from the offline copy or another replica: a start makes a new one where it is missing',
          },
        )
      }
      await database.ledgerHead.update({ where: HEAD, data: { keyId } })
      return true
    },
  }
}
