import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { RunPolicy } from './policy.ts'

/**
 * One pass of the loop. Each phase carries only what is true in it; who is on the roster, and
 * each member's standing, are rows of the store: the machine needs their counts alone, so that a
 * round of ten thousand nodes steps as cheaply as a round of four.
 */
export type Round =
  | OpenRound
  | CollectingRound
  | ReviewingRound
  | SealedRound
  | AggregatingRound
  | EvaluatingRound
  | PublishedRound
  | RejectedRound
  | FailedRound

/** True in every phase. */
type Always = {
  /** Manifest digest of the checkpoint that the round starts from. */
  readonly base: Digest
  readonly plan: Digest
  /** The run's policy when the round was opened: later changes do not move a live round. */
  readonly policy: RunPolicy
  /** Numbers before its own that do not count, because revocations took their rounds back; absent: none. */
  readonly uncounted?: number | undefined
  /** It merges again what this revocation of the run left, and nobody trains for it. */
  readonly revisionOf?: number | undefined
}

/** Nodes may join. */
export type OpenRound = Always & { readonly phase: 'open'; readonly joined: number; readonly deadline: Millis }

/** The roster is frozen; its members train and submit. */
export type CollectingRound = Always & {
  readonly phase: 'collecting'
  readonly roster: number
  readonly accepted: number
  readonly refused: number
  /** Members that take no further part and have no contribution in the round. */
  readonly declined: number
  readonly deadline: Millis
}

/** What is known once collecting has ended. */
type Counted = Always & {
  readonly roster: number
  readonly accepted: number
  readonly refused: number
  readonly declined: number
}

/** No further submission counts; nodes of other members score the contributions on their own text. */
export type ReviewingRound = Counted & {
  readonly phase: 'reviewing'
  /** Reviews asked for: one for each contribution and reviewer. */
  readonly reviews: number
  readonly reviewed: number
  readonly deadline: Millis
}

/** No further submission counts; the merge has not begun. */
export type SealedRound = Counted & { readonly phase: 'sealed' }

/** A worker merges. */
export type AggregatingRound = Counted & { readonly phase: 'aggregating' }

/** The candidate exists; those who contributed score it on their own text. */
export type EvaluatingRound = Counted & {
  readonly phase: 'evaluating'
  /** Digest of the candidate's weights file, or of the index of its shards. */
  readonly candidate: Digest
  /** Digests of the shards; absent when one file holds the weights. */
  readonly shards?: readonly Digest[] | undefined
  /** Digest of the optimizer's state that goes with it; null for strategies that keep none. */
  readonly optimizerState: Digest | null
  readonly evaluated: number
  /** Contributors that will not report: they have gone, or stand aside. */
  readonly excused: number
  /** Whether the decision job has been asked for. */
  readonly deciding: boolean
  readonly deadline: Millis
}

/** The candidate became a checkpoint. */
export type PublishedRound = Counted & {
  readonly phase: 'published'
  readonly candidate: Digest
  readonly evaluated: number
  /** Manifest digest of the checkpoint. */
  readonly checkpoint: Digest
}

/** The release gate refused the candidate: the base stands, unless operators override the gate. */
export type RejectedRound = Counted & {
  readonly phase: 'rejected'
  readonly candidate: Digest
  /** As in {@link EvaluatingRound}: an override publishes them with the candidate. */
  readonly shards?: readonly Digest[] | undefined
  readonly optimizerState: Digest | null
  readonly evaluated: number
  readonly reason: string
  /** Enough operators have signed that the candidate is to be published nevertheless. */
  readonly overridden: boolean
}

/** The round ended without a candidate: the base stands. */
export type FailedRound = Counted & { readonly phase: 'failed'; readonly reason: string }

export type Phase = Round['phase']

export const PHASES = [
  'open',
  'collecting',
  'reviewing',
  'sealed',
  'aggregating',
  'evaluating',
  'published',
  'rejected',
  'failed',
] as const satisfies readonly Phase[]

/** True for phases that time and nodes move no further; an override alone can still publish a rejected candidate. */
export function hasEnded(round: Round): round is PublishedRound | RejectedRound | FailedRound {
  return round.phase === 'published' || round.phase === 'rejected' || round.phase === 'failed'
}

/** When the present phase times out, or undefined when only work moves it on. */
export function deadlineOf(round: Round): Millis | undefined {
  return 'deadline' in round ? round.deadline : undefined
}

/** A new round. */
export function openRound(base: Digest, plan: Digest, policy: RunPolicy, now: Millis, uncounted = 0): OpenRound {
  const always = { base, plan, policy, ...(uncounted > 0 && { uncounted }) }
  return { phase: 'open', ...always, joined: 0, deadline: now + policy.joinWindowMs }
}

/** A round that merges again what a revocation left, from contributions of so many nodes, who will judge it. */
export function openRevision(
  always: Pick<SealedRound, 'base' | 'plan' | 'policy' | 'uncounted'> & { readonly revisionOf: number },
  nodes: number,
): SealedRound {
  return { phase: 'sealed', ...always, roster: nodes, accepted: nodes, refused: 0, declined: 0 }
}

/** Place of a round among those that count, from 1: what its training is seeded by. */
export function turnOf(number: number, { uncounted = 0 }: Round): number {
  return number - uncounted
}
