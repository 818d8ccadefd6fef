import type { Millis } from '../core/clock.ts'
import { connect } from './connection.ts'
import { ownMigrations } from './migrate.ts'
import { tablesOf } from './snapshot.ts'

/** What a database says of itself, without being changed. */
export type DatabaseExamination = {
  /** The database's own clock. */
  readonly now: Millis
  /** Migrations of this build that it lacks, and those of its own that this build does not know. */
  readonly missing: readonly string[]
  readonly unknown: readonly string[]
  /** Whose it is; undefined for a new one. */
  readonly federation: string | undefined
}

/** @throws TapestryError UNAVAILABLE when it cannot be reached. */
export async function examineDatabase(url: string): Promise<DatabaseExamination> {
  const client = await connect(url)
  try {
    const tables = await tablesOf(client)
    const own = [...(await ownMigrations()).keys()]
    const [clock] = (await client.query<{ now: Date }>('SELECT clock_timestamp() AS now')).rows
    const now = clock?.now.getTime() ?? Number.NaN
    if (!tables.includes('federation')) return { now, missing: own, unknown: [], federation: undefined }
    const { rows } = await client.query<{ name: string }>(
      'SELECT migration_name AS name FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL',
    )
    const applied = new Set(rows.map(({ name }) => name))
    const [owner] = (await client.query<{ id: string }>('SELECT id FROM federation')).rows
    return {
      now,
      missing: own.filter((name) => !applied.has(name)),
      unknown: [...applied].filter((name) => !own.includes(name)).sort(),
      federation: owner?.id,
    }
  } finally {
    await client.end().catch(() => {})
  }
}
