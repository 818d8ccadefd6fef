import { TapestryError } from '../core/error.ts'
import { entryBytes, subjectOf } from '../ledger/entry.ts'
import { GrowingTree } from '../ledger/merkle.ts'
import { MAX_ENTRY_BYTES, TILE_WIDTH } from '../ledger/tile.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { Tx } from './store.ts'

type Reads = Pick<Reader, 'ledgerHead' | 'ledgerHashes' | 'ledgerEntries' | 'ledgerEntryAbout'>

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
    ledgerEntryAbout: async (subject) => {
      const row = await database.ledgerEntry.findFirst({ where: { subject }, orderBy: { index: 'asc' } })
      return row === null ? undefined : { index: Number(row.index), entry: Buffer.from(row.document, 'utf8') }
    },
  }
}

/** The log: what may be added. */
export function ledgerWrites(database: Database): Pick<Tx, 'appendToLedger' | 'bindLedgerKey'> {
  return {
    appendToLedger: async (event, now) => {
      const bytes = entryBytes(event, now)
      if (bytes.byteLength > MAX_ENTRY_BYTES) {
        throw new TapestryError('INVALID_ARGUMENT', `an entry of ${bytes.byteLength} bytes does not fit into the log`)
      }
      const document = Buffer.from(bytes).toString('utf8')
      await database.ledgerPending.createMany({ data: [{ subject: subjectOf(event), document }] })
    },
    bindLedgerKey: async (keyId) => {
      const bound = await database.ledgerHead.findUniqueOrThrow({ where: HEAD })
      if (bound.keyId === keyId) return false
      if (bound.keyId !== null) {
        throw new TapestryError(
          'FAILED_PRECONDITION',
          'this log is signed by another key than the one in keys/log.key',
          {
            hint: 'every replica of a coordinator needs the same keys: copy log.key from the first one',
          },
        )
      }
      await database.ledgerHead.update({ where: HEAD, data: { keyId } })
      return true
    },
  }
}
