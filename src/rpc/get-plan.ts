import type { Context } from '../context.ts'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { GetPlanRequest } from '../gen/proto/tapestry/v1/model_pb.ts'

/** A plan's canonical JSON, whose digest rounds name. */
export async function getPlan(context: Context, request: GetPlanRequest) {
  const run = await context.store.reader.runByPlan(ensureDigest(request.digest))
  if (run === undefined) throw new TapestryError('NOT_FOUND', 'no run uses a plan with this digest')
  return { plan: Buffer.from(run.plan, 'utf8') }
}
