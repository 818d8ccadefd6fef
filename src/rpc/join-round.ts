import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId, RoundKey } from '../core/ids.ts'
import type { JoinRoundRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import { advanceRound, requireRound } from '../store/advance.ts'
import type { RoundRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import type { NodePrincipal } from './auth.ts'
import { roundKeyOf, roundMessage } from './message.ts'

/** Puts the calling node on an open round's roster. Repeating it changes nothing. */
export async function joinRound(context: Context, request: JoinRoundRequest, { node }: NodePrincipal) {
  const key = roundKeyOf(request.ref)
  const row = await context.store.transact('join-round', (tx) => join(tx, key, node.id, context.clock.now()))
  return { round: roundMessage(row) }
}

async function join(tx: Tx, key: RoundKey, node: NodeId, now: number): Promise<RoundRow> {
  const row = await requireRound(tx, key)
  if (await tx.rosterEntry(key, node)) return row
  if (row.round.phase !== 'open') {
    throw new TapestryError(
      'FAILED_PRECONDITION',
      `round ${key.number} of ${key.run} is ${row.round.phase}: its roster is frozen`,
    )
  }
  // Who has declared nothing would train for a refusal, and the others would wait for it.
  if (row.round.policy.demands !== null && (await tx.countDatasetRecords(node)) === 0) {
    throw new TapestryError('FAILED_PRECONDITION', `run ${key.run} takes only data with a dataset record`, {
      hint: 'declare your data: tapestry dataset add (an older tapestry has to be brought up to date first)',
    })
  }
  await tx.addToRoster(key, node, now)
  return advanceRound(tx, key, { type: 'node-joined' }, now)
}
