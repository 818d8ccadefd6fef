import type { CollectingRound } from './round.ts'

/** Every roster member has been accepted, or refused and not yet come back. */
export function isComplete(round: CollectingRound): boolean {
  return round.accepted + round.refused >= round.roster
}

/** Enough contributions for a merge. */
export function quorumReached(round: CollectingRound): boolean {
  return round.accepted >= round.policy.quorum
}

/** The sentence for a round that ended without its quorum. */
export function quorumIsOutOfReach(round: CollectingRound): string {
  return `${round.accepted} of the ${round.policy.quorum} contributions needed were accepted before the deadline`
}
