import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import type { Client } from 'pg'
import { TapestryError } from '../core/error.ts'
import { connect } from './connection.ts'
import { migrate, ownMigrations } from './migrate.ts'
import { type Snapshot, type SnapshotTable, tableFile, tablesOf } from './snapshot.ts'

/** How much of a table one statement inserts; a longer row is a statement of its own. */
const BATCH_BYTES = 2 ** 20

/**
 * Fills an empty database from a snapshot whose files have been verified. The schema becomes that of the snapshot; the
 * next start of a coordinator brings it up to date. Interrupted, it leaves a database that may be filled again.
 * @throws TapestryError ALREADY_EXISTS unless the database is empty; DATA_VERSION when a newer build wrote the snapshot;
 *   DATA_INVALID when the rows do not fit; UNAVAILABLE.
 */
export async function loadSnapshot(url: string, snapshot: Snapshot, directory: string): Promise<void> {
  await ensureReadable(snapshot)
  const client = await connect(url)
  try {
    await ensureEmpty(client)
    await migrate(url, undefined, new Set(Object.keys(snapshot.migrations)))
    await client.query('BEGIN')
    for (const table of await parentsFirst(client, snapshot.tables)) await loadTable(client, table, directory)
    for (const [name, last] of Object.entries(snapshot.sequences)) {
      await client.query('SELECT setval($1::regclass, $2)', [client.escapeIdentifier(name), last])
    }
    await client.query('COMMIT')
  } finally {
    await client.end().catch(() => {})
  }
}

/** @throws TapestryError DATA_VERSION when this build lacks a migration of the snapshot, or has another of its name. */
export async function ensureReadable({ migrations }: Pick<Snapshot, 'migrations'>): Promise<void> {
  const own = await ownMigrations()
  const strange = Object.entries(migrations).find(([name, checksum]) => own.get(name) !== checksum)
  if (strange === undefined) return
  throw new TapestryError(
    'DATA_VERSION',
    `the backup has the migration ${strange[0]}, which this build does not know`,
    {
      hint: 'restore with the build that made the backup, or a newer one',
    },
  )
}

/** A database that was migrated and then left alone is empty, too: that is what an interrupted restore leaves. */
async function ensureEmpty(client: Client): Promise<void> {
  const tables = await tablesOf(client)
  const { rows } = await client.query<{ ours: boolean }>("SELECT to_regclass('_prisma_migrations') IS NOT NULL AS ours")
  const claimed = tables.includes('federation') && (await client.query('SELECT 1 FROM federation')).rows.length > 0
  if (tables.length === 0 || (rows[0]?.ours === true && tables.includes('federation') && !claimed)) return
  throw new TapestryError('ALREADY_EXISTS', 'the database is not empty', {
    hint: 'restore into a new database: nothing that exists is ever overwritten',
  })
}

/** Tables so that each comes after those its foreign keys point to. */
async function parentsFirst(client: Client, tables: readonly SnapshotTable[]): Promise<readonly SnapshotTable[]> {
  const { rows } = await client.query<{ child: string; parent: string }>(
    `SELECT child.relname AS child, parent.relname AS parent FROM pg_constraint
     JOIN pg_class child ON child.oid = conrelid JOIN pg_class parent ON parent.oid = confrelid
     WHERE contype = 'f' AND conrelid <> confrelid`,
  )
  const ordered: SnapshotTable[] = []
  const left = new Map(tables.map((table) => [table.table, table]))
  while (left.size > 0) {
    const free = [...left.values()].filter(
      ({ table }) => !rows.some((key) => key.child === table && left.has(key.parent)),
    )
    if (free.length === 0) throw new TapestryError('INTERNAL', 'the tables refer to each other in a circle')
    for (const table of free) left.delete(table.table)
    ordered.push(...free)
  }
  return ordered
}

async function loadTable(client: Client, { table, rows }: SnapshotTable, directory: string): Promise<void> {
  const name = client.escapeIdentifier(table)
  // Migrations make a few rows of their own, which the snapshot has as they are now.
  if ((await client.query(`SELECT 1 FROM ${name} LIMIT 1`)).rows.length > 0) await client.query(`DELETE FROM ${name}`)
  let loaded = 0
  for await (const batch of batches(join(directory, tableFile(table)))) {
    const { rowCount } = await insert(client, name, batch)
    loaded += rowCount ?? 0
  }
  if (loaded !== rows) throw new TapestryError('DATA_INVALID', `${table} has ${loaded} rows where ${rows} were counted`)
}

async function insert(client: Client, name: string, batch: string) {
  const statement = `INSERT INTO ${name} SELECT * FROM json_populate_recordset(NULL::${name}, $1::json)`
  try {
    return await client.query(statement, [batch])
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', `rows of ${name} do not fit the database`, { cause })
  }
}

/** JSON arrays of whole rows. Numbers are never read here: a BIGINT would lose digits. */
async function* batches(path: string): AsyncGenerator<string> {
  let rest = ''
  // By hand: readline would also part a row at the line separators that text may hold.
  for await (const text of createReadStream(path, { encoding: 'utf8', highWaterMark: BATCH_BYTES })) {
    const [whole, end] = cutAtLastLine(rest + text)
    rest = end
    if (whole !== '') yield `[${whole.replaceAll('\n', ',')}]`
  }
}

/** A row's own line ends are escaped, as JSON asks, so each that is there ends a row. */
function cutAtLastLine(text: string): readonly [whole: string, rest: string] {
  const at = text.lastIndexOf('\n')
  return at < 0 ? ['', text] : [text.slice(0, at), text.slice(at + 1)]
}
