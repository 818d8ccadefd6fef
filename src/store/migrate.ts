import { createHash, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Client } from 'pg'
import { TapestryError } from '../core/error.ts'
import { connect } from './connection.ts'

/** One directory of prisma/migrations. */
type Migration = { readonly name: string; readonly sql: string; readonly checksum: string }

type Applied = { readonly migration_name: string; readonly checksum: string; readonly finished_at: Date | null }

/** The key under which Prisma Migrate takes its own advisory lock: its tool and we exclude each other. */
const ADVISORY_LOCK = 72_707_369

/** Prisma Migrate's bookkeeping table, so that `prisma migrate status` agrees with what is done here. */
const BOOKKEEPING = `CREATE TABLE IF NOT EXISTS _prisma_migrations (
  id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ,
  migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ,
  started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)`

/**
 * Brings a database to this build's schema: each missing migration in one transaction of its own.
 * Any number of processes may call it at the same time: the others wait and find nothing to do.
 *
 * A database that a newer build has migrated is used as it is while that build says that older ones may: its row in
 * schema_compatibility names the newest migration that a program must know (docs/decisions/0025-side-by-side.md).
 * @param only names of the migrations to apply; all when absent.
 * @returns names of the migrations that this call applied.
 * @throws TapestryError DATA_VERSION when the database has migrations that this build would have to know, or others
 *   than this build's; UNAVAILABLE when it cannot be reached; UNAUTHENTICATED or NOT_FOUND when it refuses the user, or
 *   is not there.
 */
export async function migrate(
  url: string,
  directory = migrationsDirectory(),
  only?: ReadonlySet<string>,
): Promise<readonly string[]> {
  const migrations = (await readMigrations(directory)).filter(({ name }) => only?.has(name) ?? true)
  const client = await connect(url)
  try {
    await client.query('SELECT pg_advisory_lock($1)', [ADVISORY_LOCK])
    await client.query(BOOKKEEPING)
    const missing = missingFrom(migrations, await appliedIn(client), await newestNeeded(client))
    for (const migration of missing) await apply(client, migration)
    return missing.map(({ name }) => name)
  } finally {
    await client.end().catch(() => {})
  }
}

/** Names and checksums of this build's migrations, in their order. */
export async function ownMigrations(directory = migrationsDirectory()): Promise<ReadonlyMap<string, string>> {
  return new Map((await readMigrations(directory)).map(({ name, checksum }) => [name, checksum]))
}

/** prisma/migrations of this package, from src/ and from dist/ alike. */
function migrationsDirectory(): string {
  let root = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(root, 'package.json'))) root = dirname(root)
  return join(root, 'prisma', 'migrations')
}

async function readMigrations(directory: string): Promise<readonly Migration[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  return Promise.all(names.sort().map((name) => readMigration(directory, name)))
}

async function readMigration(directory: string, name: string): Promise<Migration> {
  const sql = await readFile(join(directory, name, 'migration.sql'), 'utf8')
  return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
}

async function appliedIn(client: Client): Promise<ReadonlyMap<string, Applied>> {
  const { rows } = await client.query<Applied>(
    'SELECT migration_name, checksum, finished_at FROM _prisma_migrations WHERE rolled_back_at IS NULL',
  )
  return new Map(rows.map((row) => [row.migration_name, row]))
}

/** The newest migration that a program must know to use this database; undefined before there was such a row. */
async function newestNeeded(client: Client): Promise<string | undefined> {
  const { rows } = await client.query<{ there: boolean }>(
    "SELECT to_regclass('schema_compatibility') IS NOT NULL AS there",
  )
  if (rows[0]?.there !== true) return undefined
  const found = await client.query<{ needed: string }>('SELECT needed FROM schema_compatibility WHERE id = 1')
  return found.rows[0]?.needed
}

function missingFrom(
  migrations: readonly Migration[],
  applied: ReadonlyMap<string, Applied>,
  needed: string | undefined,
): readonly Migration[] {
  const known = new Map(migrations.map((migration) => [migration.name, migration]))
  const mayBeNewer = needed !== undefined && known.has(needed)
  for (const row of applied.values()) {
    const migration = known.get(row.migration_name)
    if (row.finished_at === null) throw wrongVersion(`the migration ${row.migration_name} did not finish`)
    if (migration === undefined) {
      if (mayBeNewer) continue
      throw wrongVersion(`the database has the migration ${row.migration_name}, made by a newer build`)
    }
    if (row.checksum !== migration.checksum)
      throw wrongVersion(`the migration ${row.migration_name} is not this build's`)
  }
  return migrations.filter(({ name }) => !applied.has(name))
}

async function apply(client: Client, { name, sql, checksum }: Migration): Promise<void> {
  await client.query('BEGIN')
  try {
    await client.query(sql)
    await client.query(
      `INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count)
       VALUES ($1, $2, now(), $3, 1)`,
      [randomUUID(), checksum, name],
    )
    await client.query('COMMIT')
  } catch (cause) {
    await client.query('ROLLBACK').catch(() => {})
    throw new TapestryError('DATA_VERSION', `the migration ${name} cannot be applied`, { cause })
  }
}

function wrongVersion(message: string): TapestryError {
  return new TapestryError('DATA_VERSION', message, {
    hint: 'Start the build that this database belongs to, or restore a backup that belongs to this build.',
  })
}
