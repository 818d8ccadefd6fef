import type { Combine, Contribution } from './contribution.ts'
import { NO_STATE, type OptimiserState, type OptimiserStep, type ServerOptimiser } from './server-optimiser.ts'

/** How a run merges: what makes one delta of many, and what the model does with it. */
export type Strategy = { readonly combine: Combine; readonly optimise: ServerOptimiser }

/**
 * One round of a strategy over vectors in memory. Pure: equal arguments give equal bytes.
 * @param state what the last round returned; nothing for the first
 * @throws TapestryError INVALID_ARGUMENT for contributions that cannot be combined
 */
export function applyStrategy(
  { combine, optimise }: Strategy,
  contributions: readonly Contribution[],
  state: OptimiserState = NO_STATE,
): OptimiserStep {
  return optimise(combine(contributions), state)
}
