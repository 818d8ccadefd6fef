import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { startEmbeddedPostgres } from '../src/store/embedded-postgres.ts'

/** Names the directory of this run's cluster; set by test/postgres-setup.ts. */
export const CLUSTER_VARIABLE = 'TAPESTRY_TEST_POSTGRES'

/** A database of its own on the cluster that all files of one test run share. */
export type TestDatabase = { readonly url: string; drop(): Promise<void> }

/**
 * An empty database, or a copy of one that nobody is connected to; the first caller of a run starts the cluster. Call
 * `drop` in afterAll.
 */
export async function testDatabase(template?: TestDatabase): Promise<TestDatabase> {
  const directory = process.env[CLUSTER_VARIABLE]
  if (directory === undefined) throw new Error('test/postgres-setup.ts is missing from globalSetup')
  const { url } = await startEmbeddedPostgres(directory, { durable: false })
  const name = `test_${randomBytes(8).toString('hex')}`
  const like = template === undefined ? '' : ` TEMPLATE ${new URL(template.url).pathname.slice(1)}`
  await administer(url, `CREATE DATABASE ${name}${like}`)
  const own = new URL(url)
  own.pathname = `/${name}`
  return { url: own.toString(), drop: () => administer(url, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) }
}

async function administer(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
