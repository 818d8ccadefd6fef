import type { Logger } from 'pino'
import type { RoundKey } from '../core/ids.ts'
import { hasEnded } from '../round/round.ts'
import type { RoundRow } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** Notices may be lost; the poll finds what they missed. */
const POLL_MS = 5000
/** Live rounds and the newest ended ones: what a watcher needs to see on connecting. */
const WINDOW = 100

type Subscriber = (row: RoundRow) => void

/** One view of the rounds for all watchers of this process: one listener and one poll, however many nodes watch. */
export type RoundFeed = {
  /** The newest round of every run, and every live one. */
  current(): readonly RoundRow[]
  subscribe(subscriber: Subscriber): () => void
  stop(): Promise<void>
}

export async function startRoundFeed(store: Store, log: Logger): Promise<RoundFeed> {
  const rows = new Map<string, RoundRow>()
  const subscribers = new Set<Subscriber>()

  function take(row: RoundRow): void {
    const id = idOf(row.key)
    const known = rows.get(id)
    if (known !== undefined && known.version >= row.version) return
    rows.set(id, row)
    for (const subscriber of subscribers) subscriber(row)
    forgetOlder(rows, row)
  }

  async function refresh(): Promise<void> {
    for (const row of (await store.reader.rounds({ limit: WINDOW })).toReversed()) take(row)
  }

  const report = (error: unknown) => log.warn({ err: error }, 'the rounds could not be read: trying again')
  const stopListening = await store.listen((notice) => {
    if (notice.kind !== 'round') return
    store.reader.round(notice.key).then((row) => row && take(row), report)
  })
  await refresh()
  const timer = setInterval(() => refresh().catch(report), POLL_MS)

  return {
    current: () => [...rows.values()],
    subscribe(subscriber) {
      subscribers.add(subscriber)
      return () => subscribers.delete(subscriber)
    },
    async stop() {
      clearInterval(timer)
      await stopListening()
    },
  }
}

/** Keeps an ended round only while it is its run's newest. */
function forgetOlder(rows: Map<string, RoundRow>, newest: RoundRow): void {
  for (const [id, row] of rows) {
    if (row.key.run === newest.key.run && row.key.number < newest.key.number && hasEnded(row.round)) rows.delete(id)
  }
}

function idOf(key: RoundKey): string {
  return `${key.run}/${key.number}`
}
