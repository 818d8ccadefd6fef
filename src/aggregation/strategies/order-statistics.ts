import { trimmedMeanOf } from '../kernels/reference.ts'
import { type Combine, ensureContributions, ensureWithin, invalid } from './contribution.ts'

/**
 * The median of each coordinate; the mean of the middle two for an even count. Weights are ignored.
 * Yin et al. 2018 (arXiv:1803.01498), definition 1.
 */
export const median: Combine = (contributions) => trim(contributions, (contributions.length - 1) >> 1)

/**
 * The mean of each coordinate without its floor(fraction * n) smallest and as many largest values.
 * Weights are ignored. Yin et al. 2018 (arXiv:1803.01498), definition 2.
 * @param fraction from 0 to below 0.5, trimmed at each end
 */
export function trimmedMean(fraction: number): Combine {
  ensureWithin('fraction', fraction, 0, 0.5)
  if (fraction === 0.5) throw invalid('trimming half at each end leaves nothing')
  return (contributions) => trim(contributions, Math.floor(fraction * contributions.length))
}

function trim(contributions: Parameters<Combine>[0], count: number): Float32Array {
  const length = ensureContributions(contributions)
  const column = (j: number) => contributions.map(({ delta }) => delta[j]!)
  return Float32Array.from({ length }, (_, j) => trimmedMeanOf(column(j), count))
}
