import type { Context } from '../context.ts'
import type { ListRoundsRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import { limitOf, roundMessage } from './message.ts'
import { runFilter } from './run-filter.ts'

/** Rounds of one run or of all, newest first. */
export async function listRounds(context: Context, request: ListRoundsRequest) {
  const run = await runFilter(context.store.reader, request.run)
  const rows = await context.store.reader.rounds({ ...run, limit: limitOf(request.limit) })
  return { rounds: rows.map(roundMessage) }
}
