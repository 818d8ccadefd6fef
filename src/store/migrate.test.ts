import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../test/postgres.ts'
import { migrate, ownMigrations } from './migrate.ts'

const MIGRATIONS = new URL('../../prisma/migrations', import.meta.url).pathname
/** Makes the guard itself: what came before it was never used side by side. */
const FIRST_GUARDED = '20261126160000_compatibility'
/** What takes away something that an older program reads or writes, or asks for something that it does not write. */
const INCOMPATIBLE =
  /\bDROP\s+(TABLE|COLUMN|TYPE)|\bRENAME\b|\bSET\s+NOT\s+NULL|\bTYPE\s+\w+|ADD\s+COLUMN[^,;]*NOT\s+NULL(?![^,;]*DEFAULT)/i
const SECOND = '20991231000000_second'

let database: TestDatabase
let directory: string

beforeEach(async () => {
  database = await testDatabase()
  directory = await mkdtemp(join(tmpdir(), 'migrations-'))
  await cp(MIGRATIONS, directory, { recursive: true })
})

afterEach(async () => {
  await database.drop()
  await rm(directory, { recursive: true, force: true })
})

async function writeMigration(sql: string): Promise<void> {
  await mkdir(join(directory, SECOND), { recursive: true })
  await writeFile(join(directory, SECOND, 'migration.sql'), sql)
}

async function tableNames(): Promise<string[]> {
  const client = new Client({ connectionString: database.url })
  await client.connect()
  const { rows } = await client.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`,
  )
  await client.end()
  return rows.map((row) => row.name)
}

describe('migrate', () => {
  it('lets three concurrent starters apply every migration once', async () => {
    await writeMigration('CREATE TABLE second_table (id TEXT PRIMARY KEY);')
    const applied = await Promise.all([1, 2, 3].map(() => migrate(database.url, directory)))
    const names = applied.flat()
    expect(names).toContain(SECOND)
    expect(new Set(names).size).toBe(names.length)
    expect(await migrate(database.url, directory)).toEqual([])
    expect(await tableNames()).toContain('second_table')
  })

  it('finds the migrations of the package by itself', async () => {
    expect((await migrate(database.url)).length).toBeGreaterThan(0)
  })

  it('uses a database that a newer build has migrated while that build says that older ones may', async () => {
    await writeMigration('CREATE TABLE second_table (id TEXT PRIMARY KEY);')
    await migrate(database.url, directory)
    expect(await migrate(database.url)).toEqual([])
  })

  it('refuses a database with a migration that a program has to know', async () => {
    await writeMigration(`UPDATE schema_compatibility SET needed = '${SECOND}';`)
    await migrate(database.url, directory)
    await expect(migrate(database.url)).rejects.toMatchObject({ code: 'DATA_VERSION' })
    expect(await migrate(database.url, directory)).toEqual([])
  })

  it('asks every migration that older programs cannot live with to say so', async () => {
    const known = [...(await ownMigrations()).keys()].filter((name) => name > FIRST_GUARDED)
    for (const name of known) {
      const sql = (await readFile(join(MIGRATIONS, name, 'migration.sql'), 'utf8')).replace(/--.*|'(?:[^']|'')*'/g, '')
      const guarded = /UPDATE\s+"?schema_compatibility"?\s+SET\s+"?needed"?/i.test(sql)
      expect(INCOMPATIBLE.test(sql) && !guarded, name).toBe(false)
    }
  })

  it('refuses a migration that was edited after it was applied', async () => {
    await writeMigration('SELECT 1;')
    await migrate(database.url, directory)
    await writeMigration('SELECT 2;')
    await expect(migrate(database.url, directory)).rejects.toMatchObject({ code: 'DATA_VERSION' })
  })

  it('leaves nothing of a migration that fails half-way, and can try again', async () => {
    await writeMigration('CREATE TABLE half (id TEXT); SELECT 1/0;')
    await expect(migrate(database.url, directory)).rejects.toMatchObject({ code: 'DATA_VERSION' })
    expect(await tableNames()).not.toContain('half')
    await writeMigration('CREATE TABLE half (id TEXT);')
    expect(await migrate(database.url, directory)).toEqual([SECOND])
  })

  it('tells a wrong password and a missing database from one that cannot be reached', async () => {
    const changed = (change: (url: URL) => void) => {
      const url = new URL(database.url)
      change(url)
      return migrate(url.toString(), directory)
    }
    const wrong = changed((url) => {
      url.password = 'wrong'
    })
    await expect(wrong).rejects.toMatchObject({ code: 'UNAUTHENTICATED', hint: expect.any(String) })
    const missing = changed((url) => {
      url.pathname = '/nothing'
    })
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND', hint: expect.any(String) })
  })

  it('says that an unreachable database is unavailable', async () => {
    await expect(migrate('postgresql://nobody@127.0.0.1:1/none')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })
})
