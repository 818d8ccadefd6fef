import { TapestryError } from '../../core/error.ts'

/** One delta, flat, with its weight: finite, not negative; only the ratios of weights count. */
export type Contribution = { readonly delta: Float32Array; readonly weight: number }

/** Makes one delta of many, f32 like them. Does not change its input. @throws TapestryError INVALID_ARGUMENT */
export type Combine = (contributions: readonly Contribution[]) => Float32Array

/**
 * Checks what every strategy relies on. @returns the common length of the deltas
 * @throws TapestryError INVALID_ARGUMENT without contributions, for unequal lengths, for values or
 *   weights that are not finite, for negative weights, or when all weights are zero
 */
export function ensureContributions(contributions: readonly Contribution[]): number {
  const length = contributions[0]?.delta.length
  if (length === undefined) throw invalid('there is nothing to combine')
  for (const { delta, weight } of contributions) {
    if (delta.length !== length) throw invalid(`deltas of ${length} and ${delta.length} elements cannot be combined`)
    if (!Number.isFinite(weight) || weight < 0) throw invalid(`${weight} cannot be a weight`)
    const at = delta.findIndex((value) => !Number.isFinite(value))
    if (at >= 0) throw invalid(`a delta holds ${delta[at]} at ${at}`)
  }
  const total = totalWeight(contributions)
  if (!(total > 0) || !Number.isFinite(total)) throw invalid(`the weights add up to ${total}`)
  return length
}

export function totalWeight(contributions: readonly Contribution[]): number {
  return contributions.reduce((sum, { weight }) => sum + weight, 0)
}

export function invalid(message: string): TapestryError {
  return new TapestryError('INVALID_ARGUMENT', message)
}

/** @throws TapestryError INVALID_ARGUMENT unless `least <= value <= most`; false for NaN */
export function ensureWithin(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) throw invalid(`${name} must be from ${least} to ${most}, not ${value}`)
}

/** Euclidean norm, in f64. */
export function normOf(vector: Float32Array | Float64Array): number {
  let sum = 0
  for (const value of vector) sum += value * value
  return Math.sqrt(sum)
}
