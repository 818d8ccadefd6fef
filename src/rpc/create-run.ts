import type { Context, ReleaseSigner } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { ensureChannelName, ensureRunId } from '../core/ids.ts'
import type { CreateRunRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { ensureEngineTakes } from '../plan/budget.ts'
import { makePlan } from '../plan/plan.ts'
import { parsePlanSpec } from '../plan/spec.ts'
import type { RunPolicy } from '../round/policy.ts'
import { publishInitialCheckpoint } from '../store/publish.ts'
import { specForStrategy } from './plan-of-strategy.ts'
import { policyOf } from './run-policy.ts'

const DEFAULT_CHANNEL = 'global'
/** A spec is under 2 KiB. */
const MAX_SPEC_BYTES = 64 * 1024

/** Creates a run: the plan's graphs are built and hashed here, and its initial weights become version 0. */
export async function createRun(context: Context, signer: ReleaseSigner, request: CreateRunRequest) {
  const run = {
    id: ensureRunId(request.run),
    policy: policyOf(request.policy),
    channel: ensureChannelName(request.channel || DEFAULT_CHANNEL),
  }
  refuseWithoutSets(context, run.policy)
  const plan = makePlan(specForStrategy(parsePlanSpec(parseJson(request.plan)), run.policy.strategy))
  // The coordinator scores public sets itself: better to hear of it now than when the first round is to be decided.
  if (context.config.evaluationData !== undefined) ensureEngineTakes(plan.spec.architecture)
  const row = await publishInitialCheckpoint(context, signer, run, plan, context.clock.now())
  return { planDigest: row.planDigest, baseDigest: row.head }
}

/** Members would train for a round that no worker can judge. */
function refuseWithoutSets({ config }: Context, { influence }: RunPolicy): void {
  if (influence.floor !== 'public' || config.evaluationData !== undefined) return
  throw new TapestryError('FAILED_PRECONDITION', 'the quality floor "public" needs public evaluation sets', {
    hint: 'give the coordinator a folder of them: --evaluation-data, or TAPESTRY_EVALUATION_DATA for it and its workers',
  })
}

function parseJson(bytes: Uint8Array): unknown {
  if (bytes.byteLength > MAX_SPEC_BYTES) throw new TapestryError('INVALID_ARGUMENT', 'the plan spec is too long')
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', 'the plan spec is not JSON', { cause })
  }
}
