import { fewestContributions, strategyText } from '../core/strategy.ts'
import type { RunPolicy } from './policy.ts'
import type { CollectingRound } from './round.ts'

/** Every roster member has been accepted, or refused and not yet come back, or takes no further part. */
export function isComplete(round: CollectingRound): boolean {
  return round.accepted + round.refused + round.declined >= round.roster
}

/** Fewest contributions that make a merge: what the run asks for, and never fewer than its strategy is sound with. */
export function neededOf({ quorum, strategy }: RunPolicy): number {
  return Math.max(quorum, fewestContributions(strategy))
}

/** Why so many, when the strategy is the reason; empty otherwise. */
export function becauseOf({ strategy }: RunPolicy): string {
  const fewest = fewestContributions(strategy)
  return fewest > 1 ? ` (${strategyText(strategy)} is not defined for fewer than ${fewest})` : ''
}

/** Enough contributions for a merge. */
export function quorumReached(round: CollectingRound): boolean {
  return round.accepted >= neededOf(round.policy)
}

/** Too many have declined: waiting for the deadline would change nothing. */
export function quorumIsLost({ roster, declined, policy }: CollectingRound): boolean {
  return roster - declined < neededOf(policy)
}

/** The sentence for a round that so many have declined. */
export function tooManyDeclined({ roster, declined, policy }: CollectingRound): string {
  return `${declined} of ${roster} nodes take no further part, ${neededOf(policy)} are needed${becauseOf(policy)}`
}

/** The sentence for a round that ended without its quorum. */
export function quorumIsOutOfReach(round: CollectingRound): string {
  const { accepted, policy } = round
  const needed = `${accepted} of the ${neededOf(policy)} contributions needed were accepted before the deadline`
  return needed + becauseOf(policy)
}
