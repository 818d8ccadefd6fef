import type { Context } from '../context.ts'
import type { ListCheckpointsRequest } from '../gen/proto/tapestry/v1/model_pb.ts'
import { limitOf } from './message.ts'
import { runFilter } from './run-filter.ts'

/** Checkpoints of one run or of all, newest first, with the channels that point to each. */
export async function listCheckpoints(context: Context, request: ListCheckpointsRequest) {
  const { reader } = context.store
  const run = await runFilter(reader, request.run)
  const [rows, channels] = await Promise.all([
    reader.checkpoints({ ...run, limit: limitOf(request.limit) }),
    reader.channels(),
  ])
  const checkpoints = rows.map((row) => ({
    digest: row.digest,
    run: row.run,
    version: row.version,
    round: row.round,
    bytes: BigInt(row.files.reduce((sum, file) => sum + file.size, 0)),
    createdMs: BigInt(row.createdAt),
    superseded: row.revocation !== undefined,
    channels: channels.filter((channel) => channel.checkpoint === row.digest).map((channel) => channel.name),
  }))
  return { checkpoints }
}
