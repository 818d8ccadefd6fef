import { type Codec, F32 } from '../core/codec.ts'
import { DEFAULT_DEMANDS, type Demands } from '../core/demands.ts'
import { TapestryError } from '../core/error.ts'
import { DEFAULT_INFLUENCE, ensureInfluence, type Influence } from '../core/influence-choice.ts'
import { DEFAULT_GATE, ensureGate, type ReleaseGate } from '../core/release-gate.ts'
import { fewestContributions, MEAN, mostContributions, type Strategy, strategyText } from '../core/strategy.ts'

/** How rounds of a run open, close and follow each other. All times in milliseconds. */
export type RunPolicy = {
  /** A round starts collecting as soon as this many nodes have joined. */
  readonly target: number
  /** Fewest accepted contributions that make a merge. */
  readonly quorum: number
  /** How long a round waits for nodes to join. */
  readonly joinWindowMs: number
  /** How long a round waits for contributions. */
  readonly collectWindowMs: number
  /** How long a round waits for evaluations, and before the merge for reviews. */
  readonly evaluateWindowMs: number
  /** The run ends after this many rounds. */
  readonly rounds: number
  /** Open the next round when one ends. */
  readonly continuous: boolean
  /** Largest accepted delta norm; 0 means no limit. */
  readonly maxNorm: number
  /** How contributions become one change of the model. */
  readonly strategy: Strategy
  /** Who weighs how much. */
  readonly influence: Influence
  /** What a candidate has to show before it is released. */
  readonly gate: ReleaseGate
  /** What the dataset records behind a contribution must allow; null: contributions need none. */
  readonly demands: Demands | null
  /** How contributions travel. */
  readonly codec: Codec
  /** Most bytes of tensors in one file of a checkpoint's weights: what exceeds it is published in shards. */
  readonly shardBytes: number
}

/** A roster is one row a node; beyond this many a region of its own is the answer. */
const MAX_TARGET = 100_000
/** Slow members get days, not months: a forgotten round must end by itself. */
const MAX_WINDOW_MS = 31 * 24 * 3600 * 1000
const MAX_ROUNDS = 1_000_000
/** With its header, a file of so many bytes stays under the 5 GiB that an object store takes in one request, and a hub serves. */
const MAX_SHARD_BYTES = 5_000_000_000

export const DEFAULT_RUN_POLICY: RunPolicy = {
  target: 7,
  quorum: 4,
  joinWindowMs: 3_600_000,
  collectWindowMs: 24 * 3_600_000,
  evaluateWindowMs: 3_600_000,
  rounds: 100,
  continuous: true,
  maxNorm: 0,
  strategy: MEAN,
  influence: DEFAULT_INFLUENCE,
  gate: DEFAULT_GATE,
  demands: DEFAULT_DEMANDS,
  codec: F32,
  shardBytes: MAX_SHARD_BYTES,
}

/** Checks a policy. @throws TapestryError INVALID_ARGUMENT naming the first field that is out of range. */
export function ensureRunPolicy(policy: RunPolicy): RunPolicy {
  whole('target', policy.target, 1, MAX_TARGET)
  whole('quorum', policy.quorum, 1, policy.target)
  whole('joinWindowMs', policy.joinWindowMs, 1, MAX_WINDOW_MS)
  whole('collectWindowMs', policy.collectWindowMs, 1, MAX_WINDOW_MS)
  whole('evaluateWindowMs', policy.evaluateWindowMs, 1, MAX_WINDOW_MS)
  whole('rounds', policy.rounds, 1, MAX_ROUNDS)
  whole('shardBytes', policy.shardBytes, 1, MAX_SHARD_BYTES)
  if (!(policy.maxNorm >= 0) || !Number.isFinite(policy.maxNorm)) {
    throw new TapestryError('INVALID_ARGUMENT', `maxNorm must be a finite number from 0, not ${policy.maxNorm}`)
  }
  ensureStrategyFits(policy)
  ensureInfluence(policy.influence)
  ensureGate(policy.gate)
  return policy
}

/** A quorum that the strategy cannot merge would let members train for nothing. */
function ensureStrategyFits({ strategy, target, quorum }: RunPolicy): void {
  const fewest = fewestContributions(strategy)
  if (quorum < fewest) {
    const detail = `${strategyText(strategy)} needs at least ${fewest} contributions, the quorum is ${quorum}`
    throw new TapestryError('INVALID_ARGUMENT', detail, { hint: `raise the quorum to ${fewest} or more` })
  }
  const most = mostContributions(strategy)
  if (target > most) {
    const detail = `${strategyText(strategy)} takes at most ${most} contributions, the target is ${target}`
    throw new TapestryError('INVALID_ARGUMENT', detail)
  }
}

function whole(field: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return
  throw new TapestryError('INVALID_ARGUMENT', `${field} must be a whole number from ${least} to ${most}, not ${value}`)
}
