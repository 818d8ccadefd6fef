import type { Logger } from 'pino'
import type { NodeId, RoundKey } from '../core/ids.ts'
import { hasEnded } from '../round/round.ts'
import type { RosterRow, RoundRow } from '../store/records.ts'
import type { Store } from '../store/store.ts'

/** Notices may be lost; the poll finds what they missed. */
const POLL_MS = 5000
/** Live rounds and the newest ended ones: what a watcher needs to see on connecting. */
const WINDOW = 100

type Subscriber = (row: RoundRow) => void
type Rosters = { readonly version: number; readonly standings: Promise<ReadonlyMap<NodeId, RosterRow>> }

/** One view of the rounds for all watchers of this process: one listener and one poll, however many nodes watch. */
export type RoundFeed = {
  /** The newest round of every run, and every live one. */
  current(): readonly RoundRow[]
  /** Where every member of a round's roster stands, as of this version of the round or later: read once for all watchers. */
  standings(row: RoundRow): Promise<ReadonlyMap<NodeId, RosterRow>>
  /** @param phasesOnly not called for changes within a phase: ten thousand watchers hear of ten thousand updates else. */
  subscribe(subscriber: Subscriber, phasesOnly: boolean): () => void
  stop(): Promise<void>
}

export async function startRoundFeed(store: Store, log: Logger): Promise<RoundFeed> {
  const rows = new Map<string, RoundRow>()
  const ofChanges = new Set<Subscriber>()
  const ofPhases = new Set<Subscriber>()
  const rosters = new Map<string, Rosters>()

  function take(row: RoundRow): void {
    const id = idOf(row.key)
    const known = rows.get(id)
    if (known !== undefined && known.version >= row.version) return
    rows.set(id, row)
    for (const subscriber of ofChanges) subscriber(row)
    if (known?.round.phase !== row.round.phase) for (const subscriber of ofPhases) subscriber(row)
    forgetOlder(rows, row)
    for (const other of rosters.keys()) if (!rows.has(other)) rosters.delete(other)
  }

  function standings({ key, version }: RoundRow): Rosters['standings'] {
    const id = idOf(key)
    const known = rosters.get(id)
    if (known !== undefined && known.version >= version) return known.standings
    const standings = store.reader.roster(key).then((roster) => new Map(roster.map((entry) => [entry.node, entry])))
    // What could not be read is asked for again.
    standings.catch(() => rosters.delete(id))
    rosters.set(id, { version, standings })
    return standings
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
    standings,
    subscribe(subscriber, phasesOnly) {
      const subscribers = phasesOnly ? ofPhases : ofChanges
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
