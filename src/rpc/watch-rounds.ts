import type { Context } from '../context.ts'
import type { NodeId } from '../core/ids.ts'
import type { WatchRoundsRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { RoundRow } from '../store/records.ts'
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
  for await (const row of changes(feed, wanted, node !== undefined, signal)) {
    const standing = node === undefined ? '' : await standingOf(context, row, node)
    yield { round: roundMessage(row), standing }
  }
}

/** Keeps only the newest state of each round for a slow reader: memory is bounded by the number of rounds. */
async function* changes(
  feed: RoundFeed,
  wanted: (row: RoundRow) => boolean,
  phasesOnly: boolean,
  signal: AbortSignal,
): AsyncGenerator<RoundRow> {
  const pending = new Map<string, RoundRow>()
  const sent = new Map<string, string>()
  let wake = () => {}
  const offer = (row: RoundRow) => {
    if (!wanted(row)) return
    pending.set(`${row.key.run}/${row.key.number}`, row)
    wake()
  }
  const unsubscribe = feed.subscribe(offer)
  signal.addEventListener('abort', () => wake(), { once: true })
  feed.current().forEach(offer)
  try {
    while (!signal.aborted) {
      for (const [id, row] of pending) {
        pending.delete(id)
        const mark = phasesOnly ? row.round.phase : String(row.version)
        if (sent.get(id) === mark) continue
        sent.set(id, mark)
        yield row
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

async function standingOf(context: Context, row: RoundRow, node: NodeId): Promise<string> {
  const entry = await context.store.reader.rosterEntry(row.key, node)
  if (entry === undefined) return 'none'
  if (entry.declined) return 'declined'
  return entry.evaluated ? 'evaluated' : entry.standing
}
