import { fewestContributions, strategyText } from '../core/strategy.ts'
import type { RunPolicy } from './policy.ts'
import type { CollectingRound } from './round.ts'

/** Every roster member has been accepted, or refused and not yet come back. */
export function isComplete(round: CollectingRound): boolean {
  return round.accepted + round.refused >= round.roster
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

/** The sentence for a round that ended without its quorum. */
export function quorumIsOutOfReach(round: CollectingRound): string {
  const { accepted, policy } = round
  const needed = `${accepted} of the ${neededOf(policy)} contributions needed were accepted before the deadline`
  return needed + becauseOf(policy)
}
