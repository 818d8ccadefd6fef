import {
  type Combine,
  type Contribution,
  ensureContributions,
  ensureWithin,
  normOf,
  totalWeight,
} from './contribution.ts'

/**
 * FedAvg: the mean with weights, sum_i w_i x_i / sum_i w_i, in f64 and in the given order.
 * McMahan et al. 2017 (arXiv:1602.05629), algorithm 1, where w_i is the count of samples.
 */
export const weightedMean: Combine = (contributions) => {
  const length = ensureContributions(contributions)
  return Float32Array.from(weightedMeanOf(contributions, length))
}

/** FedAvg in which every contribution counts the same, whatever its weight. */
export const uniformMean: Combine = (contributions) => {
  ensureContributions(contributions)
  return weightedMean(contributions.map(({ delta }) => ({ delta, weight: 1 })))
}

/** {@link weightedMean} before its rounding to f32, of contributions that have been checked. */
export function weightedMeanOf(contributions: readonly Contribution[], length: number): Float64Array {
  const total = totalWeight(contributions)
  const mean = new Float64Array(length)
  for (const { delta, weight } of contributions) {
    for (let j = 0; j < length; j += 1) mean[j]! += weight * delta[j]!
  }
  return mean.map((sum) => sum / total)
}

/**
 * The weighted mean of deltas scaled down to a norm of at most `limit`: x_i * min(1, limit / |x_i|).
 * Sun et al. 2019 (arXiv:1911.07963), section 5, norm thresholding.
 * @param limit above 0
 */
export function clippedMean(limit: number): Combine {
  ensureWithin('limit', limit, Number.MIN_VALUE, Number.MAX_VALUE)
  return (contributions) => {
    ensureContributions(contributions)
    return weightedMean(contributions.map(({ delta, weight }) => ({ delta: clip(delta, limit), weight })))
  }
}

function clip(delta: Float32Array, limit: number): Float32Array {
  const norm = normOf(delta)
  return norm <= limit ? delta : delta.map((value) => value * (limit / norm))
}

/**
 * What the center of elastic averaging moves by: beta = n alpha of its distance to the mean. Zhang, Choromanska and
 * LeCun 2015 (arXiv:1412.6651), equation 6.
 * @param alpha above 0, to 1 / n
 */
export function elasticMean(alpha: number): Combine {
  ensureWithin('alpha', alpha, Number.MIN_VALUE, 1)
  return (contributions) => weightedMean(contributions).map((value) => contributions.length * alpha * value)
}
