import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { scoreGraph } from './score-graph.ts'
import { type PlanSpec, parsePlanSpec } from './spec.ts'
import { trainGraph } from './train-graph.ts'

/**
 * A portable training program: the spec, and the digests of the graphs that any node rebuilds from
 * it. The graphs themselves never travel, so a coordinator cannot run code on a node.
 */
export type Plan = { readonly spec: PlanSpec; readonly graphs: { readonly train: Digest; readonly score: Digest } }

/** A spec is under 2 KiB; more is not read. */
const MAX_PLAN_BYTES = 64 * 1024

const envelope = z.strictObject({
  spec: z.unknown(),
  graphs: z.strictObject({ train: z.string(), score: z.string() }),
})

/** The plan of a spec, with its graphs built and hashed. */
export function makePlan(spec: PlanSpec): Plan {
  return { spec, graphs: { train: digestOf(trainGraph(spec)), score: digestOf(scoreGraph(spec)) } }
}

/** The canonical JSON of a plan, as it is stored, sent and hashed. */
export function planBytes(plan: Plan): Uint8Array {
  return canonicalBytes(plan)
}

/** The digest of {@link planBytes}: what rounds and manifests name. */
export function planDigest(plan: Plan): Digest {
  return digestOf(planBytes(plan))
}

/** Reads a plan from parsed JSON. @throws TapestryError INVALID_ARGUMENT */
export function ensurePlan(json: unknown): Plan {
  const result = envelope.safeParse(json)
  if (!result.success)
    throw new TapestryError('INVALID_ARGUMENT', 'not a plan: expected {spec, graphs: {train, score}}')
  const { spec, graphs } = result.data
  return {
    spec: parsePlanSpec(spec),
    graphs: { train: ensureDigest(graphs.train), score: ensureDigest(graphs.score) },
  }
}

/**
 * Reads a plan from its canonical bytes.
 * @throws TapestryError INVALID_ARGUMENT for anything else: too long, not UTF-8, not JSON, not canonical, out of bounds.
 */
export function parsePlan(bytes: Uint8Array): Plan {
  if (bytes.byteLength > MAX_PLAN_BYTES) throw new TapestryError('INVALID_ARGUMENT', 'not a plan: too long')
  const plan = ensurePlan(parseJson(bytes))
  if (!Buffer.from(planBytes(plan)).equals(bytes)) {
    throw new TapestryError('INVALID_ARGUMENT', 'not a plan: the bytes are not canonical JSON')
  }
  return plan
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', 'not a plan: not UTF-8 JSON', { cause })
  }
}

/**
 * Rebuilds both graphs from the spec and compares their digests with the plan's.
 * @returns the rebuilt graphs, the only ones a node runs.
 * @throws TapestryError VERIFICATION_FAILED when a digest differs.
 */
export function verifyPlan(plan: Plan): { readonly train: Uint8Array; readonly score: Uint8Array } {
  const graphs = { train: trainGraph(plan.spec), score: scoreGraph(plan.spec) }
  for (const kind of ['train', 'score'] as const) {
    const digest = digestOf(graphs[kind])
    if (digest === plan.graphs[kind]) continue
    throw new TapestryError(
      'VERIFICATION_FAILED',
      `the ${kind} graph of the plan is ${plan.graphs[kind]}, this version builds ${digest}`,
      { hint: 'Run the same version of Tapestry as the coordinator.' },
    )
  }
  return graphs
}
