import { PrismaPg } from '@prisma/adapter-pg'
import { Pool } from 'pg'
import type { Prisma } from '../gen/prisma/client.ts'
import { PrismaClient } from '../gen/prisma/client.ts'

/** What both the client and a transaction of it can do: the form in which reads and writes take the database. */
export type Database = Prisma.TransactionClient

/** Transactions and reads that one process runs at once. More would only conflict with each other. */
const MOST_CONNECTIONS = 6
const CONNECT_TIMEOUT_MS = 10_000

/** A client with its pool, which ends with it; nothing is connected before the first query. */
export function openClient(url: string): { readonly client: PrismaClient; readonly pool: Pool } {
  const pool = new Pool({
    connectionString: url,
    max: MOST_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  })
  // A resting connection that breaks is replaced by the next query, which tells of it if it cannot be.
  pool.on('error', () => {})
  return { client: new PrismaClient({ adapter: new PrismaPg(pool, { disposeExternalPool: true }) }), pool }
}
