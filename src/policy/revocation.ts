import { z } from 'zod'
import type { Digest } from '../core/digest.ts'
import { digestSchema } from '../model/parsing.ts'

export const REVOCATION_MODES = ['rewind', 'remerge'] as const
/**
 * How a run gets rid of what is revoked. `rewind`: the touched rounds are run again. `remerge`: what remains of
 * them is merged again; its later parts were trained from touched bases.
 */
export type RevocationMode = (typeof REVOCATION_MODES)[number]

/** A contribution as a merge took it. */
export type Part = {
  readonly id: Digest
  /** Share in its merge; null when the merge has not been made. */
  readonly weight: number | null
  /** Euclidean norm of its delta. */
  readonly norm: number
  readonly bytes: number
  readonly tokens: number
}

/** One merge of one round's contributions. */
export type MergeStep = {
  readonly round: number
  /** The round's place among those that count. */
  readonly turn: number
  readonly parts: readonly Part[]
}

/** A checkpoint on the line to the head: one step, or those of a revision. `checkpoint`: null for a revision on its way. */
export type Link = {
  readonly checkpoint: Digest | null
  readonly base: Digest
  readonly round: number
  readonly steps: readonly MergeStep[]
}

/** A run as far as a revocation has to know it. */
export type RunHistory = {
  readonly head: Digest
  /** Rounds that count, opened so far. */
  readonly roundsStarted: number
  /** Oldest first; may begin anywhere before the first link that is touched. */
  readonly line: readonly Link[]
  /** The live round that nodes train for. */
  readonly live: { readonly round: number; readonly turn: number; readonly contributions: readonly Digest[] } | null
}

const number = z.int().min(0)

/** What a revocation does to one run, as it is kept. */
export const revocationPlanSchema = z.strictObject({
  /** Contributions that are taken back. */
  contributions: z.array(digestSchema),
  /** Checkpoint that the run goes back to; its head when nothing is touched. */
  base: digestSchema,
  /** Whether that is the one it began with. */
  firstBase: z.boolean(),
  /** Rounds that are taken back, in order. */
  rounds: z.array(number),
  /** Oldest first. */
  superseded: z.array(digestSchema),
  /** Rounds that are run again: so many are given back to the run. */
  repeated: number,
  /** What is merged again, in the order of the merge. */
  steps: z.array(z.strictObject({ round: number, contributions: z.array(digestSchema) })),
  remergedBytes: number,
  deletedBytes: number,
  /** See {@link indirectInfluence}. */
  indirectInfluence: z.number().min(0).max(1),
})

export type RevocationPlan = z.output<typeof revocationPlanSchema>

/** What {@link planRevocation} finds; the store knows the rest. */
export type PlannedRevocation = Omit<RevocationPlan, 'contributions' | 'firstBase' | 'deletedBytes'> & {
  /** Whether the live round, or the revision on its way, ends. */
  readonly endsLive: boolean
}

/**
 * Finds what a run's models owe to contributions that are revoked, and what is left to do without them. A
 * contribution touches every checkpoint from the one that gave it weight on. A step of which fewer contributions
 * remain than make a merge is left out, as the round would have failed without them.
 * @param needed fewest contributions that make a merge
 */
export function planRevocation(
  { head, roundsStarted, line, live }: RunHistory,
  revoked: ReadonlySet<Digest>,
  { mode, needed }: { readonly mode: RevocationMode; readonly needed: number },
): PlannedRevocation {
  const first = line.findIndex(({ steps }) => steps.some((step) => step.parts.some((part) => counts(part, revoked))))
  const touched = first < 0 ? [] : line.slice(first)
  const endsLive = touched.length > 0 || (live?.contributions.some((id) => revoked.has(id)) ?? false)
  const steps = touched.flatMap((link) => link.steps)
  const left = steps.map((step) => ({ ...step, parts: step.parts.filter(({ id }) => !revoked.has(id)) }))
  const again = mode === 'remerge' ? left.filter(({ parts }) => parts.length >= needed) : []
  const turns = [...(mode === 'rewind' ? steps : []), ...(endsLive && live ? [live] : [])].map(({ turn }) => turn)
  return {
    base: touched[0]?.base ?? head,
    rounds: [...touched, ...(endsLive && live ? [live] : [])].map(({ round }) => round),
    superseded: touched.flatMap(({ checkpoint }) => checkpoint ?? []),
    repeated: turns.length === 0 ? 0 : roundsStarted - Math.min(...turns) + 1,
    steps: again.map(({ round, parts }) => ({ round, contributions: parts.map(({ id }) => id) })),
    remergedBytes: sum(again.flatMap(({ parts }) => parts.map(({ bytes }) => bytes))),
    indirectInfluence: mode === 'remerge' ? indirectInfluence(steps, again, revoked) : 0,
    endsLive,
  }
}

/** A weight of 0 took no part. */
function counts({ id, weight }: Part, revoked: ReadonlySet<Digest>): boolean {
  return weight !== 0 && revoked.has(id)
}

/**
 * How much of what is merged again was trained from what the revoked contributions had moved, 0 to 1: for each step,
 * the share of the revoked among all deltas that had moved its base since the clean one, each by weight times norm;
 * over the steps, the mean by tokens. It says where later training began, not what it learned from there.
 */
function indirectInfluence(
  steps: readonly MergeStep[],
  again: readonly MergeStep[],
  revoked: ReadonlySet<Digest>,
): number {
  let [moved, ofRevoked, touchedTokens, allTokens] = [0, 0, 0, 0]
  for (const { round, parts } of steps) {
    const left = again.find((step) => step.round === round)
    const tokens = sum(left?.parts.map((part) => part.tokens) ?? [])
    touchedTokens += moved > 0 ? (ofRevoked / moved) * tokens : 0
    allTokens += tokens
    const share = (part: Part) => (part.weight ?? 1 / parts.length) * part.norm
    moved += sum(parts.map(share))
    ofRevoked += sum(parts.filter(({ id }) => revoked.has(id)).map(share))
  }
  return allTokens > 0 ? Math.min(1, touchedTokens / allTokens) : 0
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}
