import { createHash } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Client } from 'pg'
import { type Digest, fromHex } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { connect } from './connection.ts'
import { onDisk } from './durable-file.ts'

/** One table's rows: a file of JSON lines, each written by PostgreSQL, which alone reads them again. */
export type SnapshotTable = {
  readonly table: string
  readonly rows: number
  readonly bytes: number
  readonly digest: Digest
}

/** A database at one moment. */
export type Snapshot = {
  /** Checksum of each migration by its name, in their order: the schema that the rows fit. */
  readonly migrations: Readonly<Record<string, string>>
  readonly tables: readonly SnapshotTable[]
  /** The last value that each sequence gave. */
  readonly sequences: Readonly<Record<string, number>>
}

/** Rows in memory at a time; the longest is a manifest of some megabytes. */
const ROWS_AT_ONCE = 100

/** Where a table's rows are in a snapshot's directory. */
export function tableFile(table: string): string {
  return `${table}.jsonl`
}

/**
 * Writes every table of a coordinator's database into a directory, as it was at one moment, while the coordinator goes
 * on: one transaction that only reads.
 * @throws TapestryError UNAVAILABLE when the database cannot be reached, NOT_FOUND when it holds no coordinator, DISK_FULL.
 */
export async function writeSnapshot(url: string, directory: string): Promise<Snapshot> {
  const client = await connect(url)
  try {
    await mkdir(directory, { recursive: true })
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const names = await tablesOf(client)
    if (!names.includes('federation')) throw new TapestryError('NOT_FOUND', 'the database holds no coordinator')
    const tables: SnapshotTable[] = []
    for (const table of names) tables.push(await writeTable(client, table, join(directory, tableFile(table))))
    return { migrations: await migrationsOf(client), tables, sequences: await sequencesOf(client) }
  } finally {
    await client.end().catch(() => {})
  }
}

/** Our tables, in the order of their names; what other programs keep in schemas of their own is not among them. */
export async function tablesOf(client: Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
       AND relname <> '_prisma_migrations' ORDER BY relname COLLATE "C"`,
  )
  return rows.map(({ name }) => name)
}

async function migrationsOf(client: Client): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; checksum: string }>(
    `SELECT migration_name AS name, checksum FROM _prisma_migrations
     WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY migration_name COLLATE "C"`,
  )
  return Object.fromEntries(rows.map(({ name, checksum }) => [name, checksum]))
}

/** Sequences know no transactions: a value that is ahead of the rows leaves a hole, which rollbacks leave as well. */
async function sequencesOf(client: Client): Promise<Record<string, number>> {
  const { rows } = await client.query<{ name: string; last: string }>(
    `SELECT sequencename AS name, last_value AS last FROM pg_sequences
     WHERE schemaname = current_schema() AND last_value IS NOT NULL ORDER BY 1`,
  )
  return Object.fromEntries(rows.map(({ name, last }) => [name, Number(last)]))
}

async function writeTable(client: Client, table: string, path: string): Promise<SnapshotTable> {
  const hash = createHash('sha256')
  let [count, bytes] = [0, 0]
  const file = await open(path, 'w', 0o600)
  try {
    await client.query(
      `DECLARE rows NO SCROLL CURSOR FOR SELECT row_to_json(t)::text AS row FROM ${client.escapeIdentifier(table)} t`,
    )
    for (;;) {
      const { rows } = await client.query<{ row: string }>(`FETCH ${ROWS_AT_ONCE} FROM rows`)
      if (rows.length === 0) break
      const text = rows.map(({ row }) => `${row}\n`).join('')
      hash.update(text)
      await onDisk(() => file.appendFile(text))
      count += rows.length
      bytes += Buffer.byteLength(text)
    }
    await client.query('CLOSE rows')
    await file.sync()
  } finally {
    await file.close()
  }
  return { table, rows: count, bytes, digest: fromHex(hash.digest('hex')) }
}
