import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../test/postgres.ts'
import { declaredColumns } from '../../test/prisma-schema.ts'
import { migrate } from './migrate.ts'

let database: TestDatabase
let client: Client

beforeAll(async () => {
  database = await testDatabase()
  await migrate(database.url)
  client = new Client({ connectionString: database.url })
  await client.connect()
})

afterAll(async () => {
  await client.end()
  await database.drop()
})

describe('schema.prisma', () => {
  it('says of every column what it holds', () => {
    const columns = declaredColumns()
    expect(columns.length).toBeGreaterThan(100)
    expect(columns.filter(({ comment }) => comment === '')).toEqual([])
  })

  it('is what the migrations make: tables, columns, types, nullability and comments', async () => {
    const { rows } = await client.query(`
      SELECT c.relname AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
        NOT a.attnotnull AS nullable, coalesce(col_description(c.oid, a.attnum), '') AS comment
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> '_prisma_migrations'
        AND a.attnum > 0 AND NOT a.attisdropped
      ORDER BY c.relname || ' ' || a.attname COLLATE "C"`)
    expect(rows).toEqual(declaredColumns())
  })
})
