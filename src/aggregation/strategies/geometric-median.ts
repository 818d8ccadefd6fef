import { type Combine, type Contribution, ensureContributions, ensureWithin } from './contribution.ts'
import { weightedMeanOf } from './mean.ts'

/** Weiszfeld's steps shrink the error by a factor: after so many, f32 shows no difference on ordinary input. */
const MAX_STEPS = 200
/** A step that moves less than this, relative to the point, is the last. */
const STILL = 1e-10

/**
 * The point with the least weighted sum of distances to the contributions, by the smoothed Weiszfeld
 * algorithm, in f64: z = sum b_i x_i / sum b_i with b_i = w_i / max(smoothing, |x_i - z|).
 * Pillutla et al. 2022, RFA (arXiv:1912.13445), algorithm 2.
 * @param smoothing above 0; distances below it count as equal
 */
export function geometricMedian(smoothing: number): Combine {
  ensureWithin('smoothing', smoothing, Number.MIN_VALUE, Number.MAX_VALUE)
  return (contributions) => {
    const length = ensureContributions(contributions)
    let point = weightedMeanOf(contributions, length)
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const next = weightedMeanOf(reweighted(contributions, point, smoothing), length)
      const moved = distance(next, point)
      point = next
      if (moved <= STILL * distance(point, new Float64Array(length))) break
    }
    return Float32Array.from(point)
  }
}

function reweighted(contributions: readonly Contribution[], point: Float64Array, smoothing: number): Contribution[] {
  return contributions.map(({ delta, weight }) => ({
    delta,
    weight: weight / Math.max(smoothing, distance(delta, point)),
  }))
}

function distance(a: Float32Array | Float64Array, b: Float64Array): number {
  let sum = 0
  for (let j = 0; j < b.length; j += 1) sum += (a[j]! - b[j]!) ** 2
  return Math.sqrt(sum)
}
