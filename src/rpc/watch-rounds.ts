import type { Context } from '../context.ts'
import type { WatchRoundsRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { RosterRow, RoundRow } from '../store/records.ts'
import type { NodePrincipal, OperatorPrincipal } from './auth.ts'
import { roundMessage } from './message.ts'
import type { RoundFeed } from './round-feed.ts'

/**
 * Streams the rounds as they stand, then their changes. Operators see every change; nodes see
 * changes of phase only, because counts that move with every submission would cost nodes x nodes.
 */
export async function* watchRounds(
  context: Context,
  feed: RoundFeed,
  request: WatchRoundsRequest,
  principal: NodePrincipal | OperatorPrincipal,
  signal: AbortSignal,
) {
  const node = principal.kind === 'node' ? principal.node.id : undefined
  const wanted = (row: RoundRow) => request.run === '' || row.key.run === request.run
  for await (const { row, told } of changes(feed, wanted, node !== undefined, signal)) {
    if (node === undefined) yield { round: roundMessage(row), standing: '' }
    else {
      // A change is told to all who watch at once; who connects asks for itself alone.
      const entry = told ? (await feed.standings(row)).get(node) : await context.store.reader.rosterEntry(row.key, node)
      yield { round: roundMessage(row), standing: standingOf(entry) }
    }
  }
}

/** A round, and whether the watcher is told of a change, or of what there was when it connected. */
type Change = { readonly row: RoundRow; readonly told: boolean }

/** Keeps only the newest state of each round for a slow reader: memory is bounded by the number of rounds. */
async function* changes(
  feed: RoundFeed,
  wanted: (row: RoundRow) => boolean,
  phasesOnly: boolean,
  signal: AbortSignal,
): AsyncGenerator<Change> {
  const pending = new Map<string, Change>()
  const sent = new Map<string, string>()
  let wake = () => {}
  const offer = (row: RoundRow, told: boolean) => {
    if (!wanted(row)) return
    pending.set(`${row.key.run}/${row.key.number}`, { row, told })
    wake()
  }
  const unsubscribe = feed.subscribe((row) => offer(row, true), phasesOnly)
  signal.addEventListener('abort', () => wake(), { once: true })
  for (const row of feed.current()) offer(row, false)
  try {
    while (!signal.aborted) {
      for (const [id, change] of pending) {
        const { row } = change
        pending.delete(id)
        const mark = phasesOnly ? row.round.phase : String(row.version)
        if (sent.get(id) === mark) continue
        sent.set(id, mark)
        yield change
      }
      if (pending.size === 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
  } finally {
    unsubscribe()
  }
}

function standingOf(entry: RosterRow | undefined): string {
  if (entry === undefined) return 'none'
  if (entry.declined) return 'declined'
  return entry.evaluated ? 'evaluated' : entry.standing
}
