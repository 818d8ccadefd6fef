import { z } from 'zod'
import { codecSchema, F32 } from '../core/codec.ts'
import { demandsSchema } from '../core/demands.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DEFAULT_INFLUENCE, influenceSchema } from '../core/influence-choice.ts'
import { DEFAULT_GATE, gateSchema } from '../core/release-gate.ts'
import { MEAN, strategySchema } from '../core/strategy.ts'
import { DEFAULT_RUN_POLICY, ensureRunPolicy, type RunPolicy } from './policy.ts'
import type { Round } from './round.ts'

const digest = z.string().transform((text): Digest => ensureDigest(text))
const count = z.int().min(0)
const millis = z.int().min(0)

const POLICY = z.strictObject({
  target: z.int(),
  quorum: z.int(),
  joinWindowMs: z.int(),
  collectWindowMs: z.int(),
  evaluateWindowMs: z.int(),
  rounds: z.int(),
  continuous: z.boolean(),
  maxNorm: z.number(),
  // Runs that are older than the choice merge by the mean.
  strategy: strategySchema.default(MEAN),
  influence: influenceSchema.default(DEFAULT_INFLUENCE),
  gate: gateSchema.default(DEFAULT_GATE),
  // Runs that are older than records go on without them.
  demands: demandsSchema.nullable().default(null),
  // And take updates as they are.
  codec: codecSchema.default(F32),
  shardBytes: z.int().default(DEFAULT_RUN_POLICY.shardBytes),
})

const always = {
  base: digest,
  plan: digest,
  policy: POLICY,
  // Absent but where revocations have been.
  uncounted: count.optional(),
  revisionOf: count.optional(),
}
// Rounds that are older than declining have waited for everybody.
const counted = { ...always, roster: count, accepted: count, refused: count, declined: count.default(0) }
const candidate = { ...counted, candidate: digest, evaluated: count }

const ROUND = z.discriminatedUnion('phase', [
  z.strictObject({ ...always, phase: z.literal('open'), joined: count, deadline: millis }),
  z.strictObject({ ...counted, phase: z.literal('collecting'), deadline: millis }),
  z.strictObject({ ...counted, phase: z.literal('reviewing'), reviews: count, reviewed: count, deadline: millis }),
  z.strictObject({ ...counted, phase: z.literal('sealed') }),
  z.strictObject({ ...counted, phase: z.literal('aggregating') }),
  z.strictObject({
    ...candidate,
    phase: z.literal('evaluating'),
    // Rounds that are older than optimizers have none.
    optimizerState: digest.nullable().default(null),
    excused: count.default(0),
    shards: z.array(digest).optional(),
    deciding: z.boolean(),
    deadline: millis,
  }),
  z.strictObject({ ...candidate, phase: z.literal('published'), checkpoint: digest }),
  z.strictObject({
    ...candidate,
    phase: z.literal('rejected'),
    // Rounds that are older than overrides kept neither.
    optimizerState: digest.nullable().default(null),
    shards: z.array(digest).optional(),
    reason: z.string(),
    overridden: z.boolean().default(false),
  }),
  z.strictObject({ ...counted, phase: z.literal('failed'), reason: z.string() }),
])

/**
 * Reads a round back from its JSON form, which is the value itself: `JSON.stringify(round)` writes it.
 * Strict: a field too many, a field of another phase or impossible counts are refused.
 * @throws TapestryError DATA_INVALID
 */
export function parseRound(json: unknown): Round {
  const round = parse('round', ROUND, json)
  if ('roster' in round && round.accepted + round.refused + round.declined > round.roster) {
    throw new TapestryError('DATA_INVALID', 'the stored round counts more answers than its roster has members')
  }
  return { ...round, policy: checked(round.policy) }
}

/** Reads a run's policy back from its JSON form. Strict. @throws TapestryError DATA_INVALID */
export function parseRunPolicy(json: unknown): RunPolicy {
  return checked(parse('run policy', POLICY, json))
}

function checked(policy: RunPolicy): RunPolicy {
  try {
    return ensureRunPolicy(policy)
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', 'the stored run policy is out of range', { cause })
  }
}

function parse<T>(what: string, schema: z.ZodType<T>, json: unknown): T {
  try {
    return schema.parse(json)
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', `the stored ${what} does not fit its schema`, { cause })
  }
}
