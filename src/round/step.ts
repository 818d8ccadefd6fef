import { assertNever } from '../core/assert.ts'
import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import {
  becauseOf,
  isComplete,
  neededOf,
  quorumIsLost,
  quorumIsOutOfReach,
  quorumReached,
  tooManyDeclined,
} from './quorum.ts'
import {
  type AggregatingRound,
  type CollectingRound,
  type EvaluatingRound,
  hasEnded,
  type OpenRound,
  type RejectedRound,
  type ReviewingRound,
  type Round,
  type SealedRound,
} from './round.ts'

/** A roster member's latest submission in a round. */
export type Standing = 'joined' | 'accepted' | 'refused'

export type RoundEvent =
  /** A node that was not yet on the roster joined. */
  | { readonly type: 'node-joined' }
  /** A roster member's submission was accepted; `from` is its standing before. */
  | { readonly type: 'contribution-accepted'; readonly from: Standing }
  /** A roster member's submission was refused; `from` is its standing before. */
  | { readonly type: 'contribution-refused'; readonly from: Standing }
  /** A roster member takes no further part; told once for each. What it contributed stays. */
  | { readonly type: 'member-declined'; readonly from: Standing; readonly evaluated: boolean }
  /** An accepted contribution is taken out of the round, and its node with it. */
  | { readonly type: 'contribution-dropped'; readonly reason: string }
  /** Who reviews what has been decided; `reviews` counts pairs of contribution and reviewer. */
  | { readonly type: 'reviewers-assigned'; readonly reviews: number }
  /** A reviewer's first report about a contribution was stored. */
  | { readonly type: 'review-stored' }
  /** Reviews are no longer asked for: a reviewer or a contribution has gone. */
  | { readonly type: 'reviews-recounted'; readonly reviews: number; readonly reviewed: number }
  | { readonly type: 'aggregation-started' }
  /** `excused`: contributors that had declined by then. */
  | ({ readonly type: 'candidate-written' } & Pick<
      EvaluatingRound,
      'candidate' | 'shards' | 'optimizerState' | 'excused'
    >)
  /** A contributor's first evaluation report was stored. */
  | { readonly type: 'evaluation-stored' }
  | { readonly type: 'checkpoint-published'; readonly checkpoint: Digest }
  | { readonly type: 'release-refused'; readonly reason: string }
  /** Enough operators have signed that the rejected candidate is to be published. */
  | { readonly type: 'override-carried' }
  /** The run has moved on from the base of a rejected candidate: it cannot be published any more. */
  | { readonly type: 'override-void' }
  /** The run no longer goes on from the base that this round started from. */
  | { readonly type: 'base-replaced'; readonly reason: string }
  /** Work was given up for good. */
  | { readonly type: 'work-abandoned'; readonly reason: string }
  /** Time passed: the sweeper, or anything that looked at the clock. */
  | { readonly type: 'time-passed' }

/** Work that a step asks for. The store turns it into leased rows in the same transaction. */
export type Work = 'aggregate' | 'decide' | 'override'

/** What a step did. `changed` is false when the event means nothing in this phase: that is normal, events may repeat. */
export type Step = { readonly round: Round; readonly changed: boolean; readonly work: readonly Work[] }

/**
 * The round's state machine. Pure: the same round, event and time give the same step. Events that
 * arrive late, twice or out of order change nothing.
 */
export function step(round: Round, event: RoundEvent, now: Millis): Step {
  if (event.type === 'work-abandoned') return abandon(round, event.reason)
  if (event.type === 'base-replaced') return giveUp(round, event.reason)
  switch (round.phase) {
    case 'open':
      return stepOpen(round, event, now)
    case 'collecting':
      return stepCollecting(round, event, now)
    case 'reviewing':
      return stepReviewing(round, event, now)
    case 'sealed':
      if (event.type === 'contribution-dropped') return withoutOne(round, event.reason)
      return event.type === 'aggregation-started' ? moved({ ...round, phase: 'aggregating' }) : unchanged(round)
    case 'aggregating':
      return stepAggregating(round, event, now)
    case 'evaluating':
      return stepEvaluating(round, event, now)
    case 'rejected':
      return stepRejected(round, event)
    case 'published':
    case 'failed':
      return unchanged(round)
    default:
      return assertNever(round)
  }
}

function stepOpen(round: OpenRound, event: RoundEvent, now: Millis): Step {
  if (event.type === 'node-joined') {
    const joined = round.joined + 1
    if (joined >= round.policy.target) return collect(round, joined, now)
    return moved({ ...round, joined })
  }
  if (event.type === 'member-declined') return moved({ ...round, joined: round.joined - 1 })
  if (now < round.deadline) return unchanged(round)
  if (round.joined >= neededOf(round.policy)) return collect(round, round.joined, now)
  return moved({
    ...settled(round, { roster: round.joined, accepted: 0, refused: 0, declined: 0 }),
    phase: 'failed',
    reason: `${round.joined} of the ${neededOf(round.policy)} nodes needed joined before the deadline${becauseOf(round.policy)}`,
  })
}

function collect(round: OpenRound, roster: number, now: Millis): Step {
  const deadline = now + round.policy.collectWindowMs
  return moved({ ...settled(round, { roster, accepted: 0, refused: 0, declined: 0 }), phase: 'collecting', deadline })
}

function stepCollecting(round: CollectingRound, event: RoundEvent, now: Millis): Step {
  const counted = count(round, event)
  const late = now >= round.deadline
  if (quorumIsLost(counted)) {
    return moved({ ...settled(counted, counted), phase: 'failed', reason: tooManyDeclined(counted) })
  }
  if (isComplete(counted) || late) {
    if (quorumReached(counted)) return seal(counted, now)
    if (late) return moved({ ...settled(counted, counted), phase: 'failed', reason: quorumIsOutOfReach(counted) })
  }
  return { round: counted, changed: counted !== round, work: [] }
}

/** A refused member may submit again until the round seals, so a refusal is not final. */
function count(round: CollectingRound, event: RoundEvent): CollectingRound {
  if (event.type === 'contribution-accepted' && event.from !== 'accepted') {
    return { ...round, accepted: round.accepted + 1, refused: round.refused - (event.from === 'refused' ? 1 : 0) }
  }
  if (event.type === 'contribution-refused' && event.from === 'joined') return { ...round, refused: round.refused + 1 }
  if (event.type === 'member-declined' && event.from !== 'accepted') {
    return { ...round, declined: round.declined + 1, refused: round.refused - (event.from === 'refused' ? 1 : 0) }
  }
  if (event.type === 'contribution-dropped') return dropped(round)
  return round
}

function dropped<R extends CollectingRound | ReviewingRound | SealedRound | AggregatingRound>(round: R): R {
  return { ...round, accepted: round.accepted - 1, declined: round.declined + 1 }
}

/** The merge is made from what remains, if that is still enough. */
function withoutOne(round: ReviewingRound | SealedRound | AggregatingRound, reason: string): Step {
  const left = dropped(round)
  if (left.accepted >= neededOf(round.policy)) return moved(left)
  return moved({ ...settled(left, left), phase: 'failed', reason })
}

/** Whoever applies the step says who reviews before anything else happens: until then none are asked for. */
function seal(round: CollectingRound, now: Millis): Step {
  const ended = settled(round, round)
  const { influence, evaluateWindowMs } = round.policy
  if (influence.floor !== 'peers') return moved({ ...ended, phase: 'sealed' }, ['aggregate'])
  return moved({ ...ended, phase: 'reviewing', reviews: 0, reviewed: 0, deadline: now + evaluateWindowMs })
}

/** Reviewers who stay silent do not stop a round: at the deadline it goes on with what was heard. */
function stepReviewing(round: ReviewingRound, event: RoundEvent, now: Millis): Step {
  const sealed = () => moved({ ...settled(round, round), phase: 'sealed' }, ['aggregate'])
  if (event.type === 'contribution-dropped') return withoutOne(round, event.reason)
  if (now >= round.deadline) return sealed()
  if (event.type === 'reviews-recounted') {
    const { reviews, reviewed } = event
    return reviewed >= reviews ? sealed() : moved({ ...round, reviews, reviewed })
  }
  if (event.type !== 'reviewers-assigned' && event.type !== 'review-stored') return unchanged(round)
  const reviews = event.type === 'reviewers-assigned' ? event.reviews : round.reviews
  const reviewed = round.reviewed + (event.type === 'review-stored' ? 1 : 0)
  return reviewed >= reviews ? sealed() : moved({ ...round, reviews, reviewed })
}

function stepAggregating(round: AggregatingRound, event: RoundEvent, now: Millis): Step {
  if (event.type === 'contribution-dropped') return withoutOne(round, event.reason)
  if (event.type !== 'candidate-written') return unchanged(round)
  const { candidate, shards, optimizerState, excused } = event
  const parts = { candidate, ...(shards && { shards }), optimizerState }
  const deadline = now + round.policy.evaluateWindowMs
  return heard({ ...round, phase: 'evaluating', ...parts, evaluated: 0, excused, deciding: false, deadline }, now)
}

function stepEvaluating(round: EvaluatingRound, event: RoundEvent, now: Millis): Step {
  const { candidate, evaluated } = round
  const ended = { ...settled(round, round), candidate, evaluated }
  if (event.type === 'checkpoint-published') {
    return moved({ ...ended, phase: 'published', checkpoint: event.checkpoint })
  }
  if (event.type === 'release-refused') {
    const { shards, optimizerState } = round
    const parts = { ...(shards && { shards }), optimizerState }
    return moved({ ...ended, phase: 'rejected', ...parts, reason: event.reason, overridden: false })
  }
  // The candidate holds what must not count.
  if (event.type === 'contribution-dropped') return giveUp(round, event.reason)
  if (round.deciding) return unchanged(round)
  if (event.type === 'evaluation-stored') return heard({ ...round, evaluated: evaluated + 1 }, now)
  if (event.type === 'member-declined' && event.from === 'accepted' && !event.evaluated) {
    return heard({ ...round, excused: round.excused + 1 }, now)
  }
  return now >= round.deadline ? heard(round, now) : unchanged(round)
}

/** Decides as soon as nobody is left to be heard, or there is no more time. */
function heard(round: EvaluatingRound, now: Millis): Step {
  if (round.evaluated + round.excused < round.accepted && now < round.deadline) return moved(round)
  return moved({ ...round, deciding: true }, ['decide'])
}

function stepRejected(round: RejectedRound, event: RoundEvent): Step {
  const { candidate, evaluated, overridden } = round
  if (!overridden) {
    return event.type === 'override-carried' ? moved({ ...round, overridden: true }, ['override']) : unchanged(round)
  }
  if (event.type === 'override-void') return moved({ ...round, overridden: false })
  if (event.type !== 'checkpoint-published') return unchanged(round)
  return moved({ ...settled(round, round), candidate, evaluated, phase: 'published', checkpoint: event.checkpoint })
}

/** Whatever a live round has gathered belongs to its base. */
function giveUp(round: Round, reason: string): Step {
  if (hasEnded(round)) return unchanged(round)
  const counts = round.phase === 'open' ? { roster: round.joined, accepted: 0, refused: 0, declined: 0 } : round
  return moved({ ...settled(round, counts), phase: 'failed', reason })
}

function abandon(round: Round, reason: string): Step {
  switch (round.phase) {
    case 'reviewing':
    case 'sealed':
    case 'aggregating':
    case 'evaluating':
      return moved({ ...settled(round, round), phase: 'failed', reason })
    case 'open':
    case 'collecting':
    case 'published':
    case 'rejected':
    case 'failed':
      return unchanged(round)
    default:
      return assertNever(round)
  }
}

type Counts = Pick<CollectingRound, 'roster' | 'accepted' | 'refused' | 'declined'>

/** The fields that every phase after collecting keeps, and no others. */
function settled(
  { base, plan, policy, uncounted, revisionOf }: Round,
  { roster, accepted, refused, declined }: Counts,
) {
  const rare = { ...(uncounted !== undefined && { uncounted }), ...(revisionOf !== undefined && { revisionOf }) }
  return { base, plan, policy, ...rare, roster, accepted, refused, declined }
}

function moved(round: Round, work: readonly Work[] = []): Step {
  return { round, changed: true, work }
}

function unchanged(round: Round): Step {
  return { round, changed: false, work: [] }
}
