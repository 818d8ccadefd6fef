import type { Context } from '../context.ts'
import type { DeclineRoundRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import { declineRound as decline } from '../store/stand-down.ts'
import type { NodePrincipal } from './auth.ts'
import { roundKeyOf, roundMessage } from './message.ts'

/** Ends the calling node's part in a round. Repeating it changes nothing. */
export async function declineRound(context: Context, request: DeclineRoundRequest, { node }: NodePrincipal) {
  const key = roundKeyOf(request.ref)
  const row = await context.store.transact('decline-round', (tx) => decline(tx, key, node.id, context.clock.now()))
  return { round: roundMessage(row) }
}
