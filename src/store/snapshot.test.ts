import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../test/postgres.ts'
import { migrate } from './migrate.ts'
import { type Snapshot, writeSnapshot } from './snapshot.ts'
import { loadSnapshot } from './snapshot-load.ts'

/** Line ends of every kind, quotes, a separator that JavaScript takes for a line end, and characters beyond the BMP. */
const AWKWARD = 'a\nb\r\n"c"\\ \u2028 \u2029 𝔗 %s $1 \t\u0001'

let source: TestDatabase
let directory: string

beforeAll(async () => {
  source = await testDatabase()
  directory = await mkdtemp(join(tmpdir(), 'tapestry-snapshot-'))
  await migrate(source.url)
  await query(source.url, `INSERT INTO federation VALUES ('f', $1, $1, 's', '2026-01-02T03:04:05.678Z')`, [AWKWARD])
  await query(source.url, `INSERT INTO member (id, created_at) VALUES ('m', now())`)
  await query(source.url, `INSERT INTO upload VALUES ('d', 9007199254740993, 'n', now())`)
  await query(source.url, `INSERT INTO ledger_pending (document) SELECT $1 FROM generate_series(1, 250)`, [AWKWARD])
  await query(source.url, `INSERT INTO ledger_hash VALUES (0, 0, '\\x00ff0a')`)
  await query(source.url, `UPDATE ledger_head SET size = 1, frontier = '\\x00ff'`)
})

afterAll(async () => {
  await source.drop()
  await rm(directory, { recursive: true, force: true })
})

async function query(url: string, text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

/** Every row of every table, as PostgreSQL writes it. */
async function contentOf(url: string): Promise<string[]> {
  const tables = await query(url, `SELECT table_name AS t FROM information_schema.tables WHERE table_schema = 'public'`)
  const rows = tables
    .map(({ t }) => String(t))
    .filter((table) => table !== '_prisma_migrations')
    .map((table) => query(url, `SELECT '${table}' || t::text AS row FROM "${table}" t`))
  return (await Promise.all(rows))
    .flat()
    .map(({ row }) => String(row))
    .sort()
}

describe('a snapshot', () => {
  it('is loaded into an empty database bit for bit, sequences included, and never into another', async () => {
    const snapshot = await writeSnapshot(source.url, directory)
    const target = await testDatabase()
    try {
      await loadSnapshot(target.url, snapshot, directory)
      expect(await contentOf(target.url)).toEqual(await contentOf(source.url))
      const [next] = await query(target.url, `INSERT INTO ledger_pending (document) VALUES ('') RETURNING id`)
      expect(next).toEqual({ id: '251' })
      await expect(loadSnapshot(target.url, snapshot, directory)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    } finally {
      await target.drop()
    }
  })

  it('is not loaded beside tables of another program', async () => {
    const snapshot = await writeSnapshot(source.url, directory)
    const target = await testDatabase()
    try {
      await query(target.url, 'CREATE TABLE theirs (id TEXT)')
      await expect(loadSnapshot(target.url, snapshot, directory)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    } finally {
      await target.drop()
    }
  })

  it('of a newer build is refused before anything is written', async () => {
    const snapshot = await writeSnapshot(source.url, directory)
    const newer = { ...snapshot, migrations: { ...snapshot.migrations, '20991231000000_later': 'ab' } }
    const target = await testDatabase()
    try {
      await expect(loadSnapshot(target.url, newer, directory)).rejects.toMatchObject({ code: 'DATA_VERSION' })
      expect(await contentOf(target.url)).toEqual([])
    } finally {
      await target.drop()
    }
  })

  it('shows one moment of all tables, whatever is written meanwhile', async () => {
    const rowsOf = ({ tables }: Snapshot, name: string) => tables.find(({ table }) => table === name)?.rows ?? 0
    const before = await writeSnapshot(source.url, directory)
    let writing = true
    const writer = (async () => {
      for (let i = 0; writing; i++) {
        await query(
          source.url,
          `BEGIN; INSERT INTO invitation VALUES ('i${i}', 'm', now(), NULL, NULL, now());
          INSERT INTO upload VALUES ('u${i}', 1, 'n', now()); COMMIT`,
        )
      }
    })()
    for (let i = 0; i < 10; i++) {
      const during = await writeSnapshot(source.url, directory)
      const more = (table: string) => rowsOf(during, table) - rowsOf(before, table)
      expect(more('upload')).toBe(more('invitation'))
    }
    writing = false
    await writer
  })

  it('of a database without a coordinator is refused', async () => {
    const target = await testDatabase()
    try {
      await expect(writeSnapshot(target.url, directory)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    } finally {
      await target.drop()
    }
  })
})
