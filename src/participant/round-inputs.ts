import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import { encodeHeader } from '../model/safetensors.ts'
import { elementCount, type TensorSpec } from '../model/tensor.ts'
import { type WeightFiles, weightsAmong } from '../model/weight-index.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { type Plan, parsePlan, verifyPlan } from '../plan/plan.ts'
import type { TransferOptions } from './artifact.ts'
import type { Wanted } from './download.ts'
import type { NodeContext } from './node-context.ts'
import { fetchRelease, type OfferedRelease } from './release.ts'
import type { RoundView } from './round-view.ts'
import { received } from './wire.ts'

const FLOAT_BYTES = 4
/** Room for a header: names, shapes and padding of every tensor, and the file's own metadata. */
const HEADER_BYTES_PER_TENSOR = 1024
const HEADER_BYTES = 64 * 1024

/** A plan that this node has rebuilt and compared. @throws TapestryError VERIFICATION_FAILED; UNAVAILABLE; what the trainer throws */
export async function fetchPlan(node: NodeContext, digest: Digest, signal: AbortSignal): Promise<Plan> {
  const known = node.plans.get(digest)
  if (known !== undefined) return known
  const { plan: bytes } = await node.client.call(ModelService.method.getPlan, { digest }, { signal })
  if (digestOf(bytes) !== digest) throw new TapestryError('VERIFICATION_FAILED', `the plan does not have ${digest}`)
  const plan = received(parsePlan, bytes)
  node.trainer.ensureTakes?.(plan)
  verifyPlan(plan)
  node.plans.set(digest, plan)
  return plan
}

/** The most bytes that weights of a plan can have: what a coordinator may make a node store. */
export function mostWeightBytes({ spec }: Plan): number {
  const tensors = parameterSpecs(spec)
  return dataBytes(tensors) + tensors.length * HEADER_BYTES_PER_TENSOR + HEADER_BYTES
}

/** Bytes of an update of this plan as F32. */
export function f32Bytes({ spec }: Plan): number {
  const tensors = parameterSpecs(spec)
  return encodeHeader(tensors).byteLength + dataBytes(tensors)
}

function dataBytes(tensors: readonly TensorSpec[]): number {
  return tensors.reduce((sum, { shape }) => sum + elementCount(shape) * FLOAT_BYTES, 0)
}

/** Weights on disk, and the digest that names them. */
export type Weights = { readonly files: WeightFiles; readonly digest: Digest }

/**
 * The weights that a round starts from: named by a manifest that a release key signed.
 * @throws TapestryError VERIFICATION_FAILED; UNAVAILABLE; DISK_FULL
 */
export async function fetchBase(
  node: NodeContext,
  view: RoundView,
  plan: Plan,
  options: TransferOptions & { readonly signal: AbortSignal },
): Promise<Weights> {
  const { manifest, superseded } = await releaseOf(node, view.base, options.signal)
  // The round is about to end, if the coordinator is honest; nobody trains from what was taken back either way.
  if (superseded) throw new TapestryError('FAILED_PRECONDITION', `the base ${view.base} was taken back by a revocation`)
  const named = weightsAmong(manifest.files)
  if (named === undefined || named.size > mostWeightBytes(plan)) {
    throw new TapestryError('VERIFICATION_FAILED', `the base ${view.base} has no weights that fit the plan`)
  }
  const { digest, size } = named
  return fetchWeights(node, { digest, size }, plan, options)
}

/** A release by a key that this node has not seen may be by a new one: the authority's record tells. */
async function releaseOf(node: NodeContext, digest: Digest, signal: AbortSignal): Promise<OfferedRelease> {
  try {
    return await fetchRelease(node.client, digest, node.federation.current(), signal)
  } catch (error) {
    if (!(error instanceof TapestryError) || error.code !== 'VERIFICATION_FAILED') throw error
    return fetchRelease(node.client, digest, await node.federation.refresh(signal), signal)
  }
}

/** The candidate's weights: nobody vouches for them yet, so they are bounded by what the plan can take. */
export async function fetchCandidate(
  node: NodeContext,
  digest: Digest,
  plan: Plan,
  options: TransferOptions,
): Promise<Weights> {
  return fetchWeights(node, { digest, maxBytes: mostWeightBytes(plan) }, plan, options)
}

async function fetchWeights(
  { cache, client }: NodeContext,
  wanted: Wanted,
  plan: Plan,
  options: TransferOptions,
): Promise<Weights> {
  const files = await cache.fetchWeights(client, wanted, mostWeightBytes(plan), options)
  return { digest: wanted.digest, files }
}
