import type { Context } from '../context.ts'
import { ensureRunId } from '../core/ids.ts'
import type { StartRoundRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { openNextRound } from '../store/advance.ts'
import { roundMessage } from './message.ts'

/** Opens the next round of a run. */
export async function startRound(context: Context, request: StartRoundRequest) {
  const run = ensureRunId(request.run)
  const row = await context.store.transact('start-round', (tx) => openNextRound(tx, run, context.clock.now()))
  return { round: roundMessage(row) }
}
