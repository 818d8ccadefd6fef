import { Client } from 'pg'
import { z } from 'zod'
import { ensureRunId } from '../core/ids.ts'
import type { Database } from './database.ts'
import type { Notice } from './store.ts'

/** PostgreSQL's NOTIFY channel; it exists per database. */
const CHANNEL = 'tapestry'
const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 5_000

const Payload = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('round'),
    key: z.object({ run: z.string().transform(ensureRunId), number: z.number().int().positive() }),
  }),
  z.object({ kind: z.literal('job'), id: z.string() }),
])

/** Tells listeners, in the caller's transaction: they hear of it after the commit, and never of a rollback. */
export async function publishNotices(database: Database, notices: readonly Notice[]): Promise<void> {
  const payloads = [...new Set(notices.map((notice) => JSON.stringify(notice)))]
  if (payloads.length === 0) return
  await database.$executeRaw`SELECT pg_notify(${CHANNEL}, payload) FROM unnest(${payloads}::text[]) AS payload`
}

/**
 * One LISTEN connection for all listeners of a process. It reconnects by itself; what happens
 * while it is away is not repeated, which is why every listener also polls.
 */
export class NoticeBoard {
  readonly #url: string
  readonly #listeners = new Set<(notice: Notice) => void>()
  #client: Client | undefined
  #connecting: Promise<void> | undefined
  #retry: NodeJS.Timeout | undefined
  #retryMs = FIRST_RETRY_MS

  constructor(url: string) {
    this.#url = url
  }

  /** Resolves when notices flow, or when the first attempt to connect has failed and others will follow. */
  async listen(onNotice: (notice: Notice) => void): Promise<() => Promise<void>> {
    // A function of its own, so that the same callback may listen twice.
    const listener = (notice: Notice) => onNotice(notice)
    this.#listeners.add(listener)
    if (this.#client === undefined) await this.#connect()
    return async () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) await this.close()
    }
  }

  /** Ends the connection; listeners that remain hear nothing more. */
  async close(): Promise<void> {
    clearTimeout(this.#retry)
    this.#listeners.clear()
    await this.#connecting
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => {})
  }

  #connect(): Promise<void> {
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  async #open(): Promise<void> {
    clearTimeout(this.#retry)
    const client = new Client({ connectionString: this.#url, keepAlive: true, connectionTimeoutMillis: 10_000 })
    client.on('notification', ({ payload }) => this.#deliver(payload))
    client.on('error', () => this.#lose(client))
    client.on('end', () => this.#lose(client))
    this.#client = client
    try {
      await client.connect()
      await client.query(`LISTEN ${CHANNEL}`)
      this.#retryMs = FIRST_RETRY_MS
    } catch {
      this.#lose(client)
    }
  }

  #lose(client: Client): void {
    if (this.#client !== client) return
    this.#client = undefined
    client.end().catch(() => {})
    if (this.#listeners.size === 0) return
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs)
    this.#retry.unref()
    this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS)
  }

  /** Anybody who may connect to the database may notify: what is not a notice is passed over. */
  #deliver(payload: string | undefined): void {
    const notice = parseNotice(payload)
    if (notice === undefined) return
    for (const listener of [...this.#listeners]) listener(notice)
  }
}

function parseNotice(payload: string | undefined): Notice | undefined {
  try {
    return Payload.parse(JSON.parse(payload ?? ''))
  } catch {
    return undefined
  }
}
