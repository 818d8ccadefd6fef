import { Client } from 'pg'
import { TapestryError } from '../core/error.ts'
import { hasCode } from './durable-file.ts'

const CONNECT_TIMEOUT_MS = 10_000

/**
 * A connection apart from the pool, for work on the database as a whole.
 * @throws TapestryError UNAVAILABLE when it cannot be reached; UNAUTHENTICATED or NOT_FOUND when it refuses the user, or is not there.
 */
export async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', () => {})
  await client.connect().catch((cause: unknown) => {
    throw refused(cause)
  })
  return client
}

/** What an operator has to do differs: wait, or mend DATABASE_URL. */
function refused(cause: unknown): TapestryError {
  if (hasCode(cause, '28P01') || hasCode(cause, '28000')) {
    const hint = 'check the user and the password in DATABASE_URL'
    return new TapestryError('UNAUTHENTICATED', 'the database refuses these credentials', { cause, hint })
  }
  if (hasCode(cause, '3D000')) {
    const hint = 'make it, or mend the name in DATABASE_URL'
    return new TapestryError('NOT_FOUND', 'the server has no such database', { cause, hint })
  }
  const hint = 'check that it runs, and the host and port in DATABASE_URL'
  return new TapestryError('UNAVAILABLE', 'the database cannot be reached', { cause, hint })
}
