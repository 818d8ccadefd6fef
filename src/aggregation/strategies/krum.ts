import { type Combine, type Contribution, ensureContributions, invalid } from './contribution.ts'
import { uniformMean } from './mean.ts'

/**
 * Krum: the contribution that is closest to its neighbours: multi-Krum with one chosen.
 * @param byzantine how many contributions may be hostile
 */
export function krum(byzantine: number): Combine {
  return multiKrum(byzantine, 1)
}

/**
 * The uniform mean of the `chosen` contributions with the lowest scores. The score of one is the sum
 * of squared distances to its n - byzantine - 2 nearest others (at least 1); ties go to the first.
 * Weights are ignored. Blanchard et al. 2017 (NeurIPS), sections 4 and 5; its guarantee
 * needs n >= 2 * byzantine + 3, which is not enforced.
 */
export function multiKrum(byzantine: number, chosen: number): Combine {
  if (!Number.isInteger(byzantine) || byzantine < 0) throw invalid(`${byzantine} cannot be a number of contributions`)
  if (!Number.isInteger(chosen) || chosen < 1) throw invalid(`${chosen} cannot be a number of contributions`)
  return (contributions) => {
    ensureContributions(contributions)
    const count = contributions.length
    if (byzantine >= count || chosen > count) throw invalid(`${count} contributions are too few`)
    const scores = scoresOf(contributions, Math.min(count - 1, Math.max(1, count - byzantine - 2)))
    const order = scores.map((_, i) => i).sort((a, b) => scores[a]! - scores[b]! || a - b)
    // In the given order, so that the mean does not depend on the scores of those it is made of.
    const best = new Set(order.slice(0, chosen))
    return uniformMean(contributions.filter((_, i) => best.has(i)))
  }
}

function scoresOf(contributions: readonly Contribution[], nearest: number): number[] {
  const distances = contributions.map((a) => contributions.map((b) => squaredDistance(a.delta, b.delta)))
  return distances.map((row, i) => {
    const others = row.filter((_, k) => k !== i).sort((a, b) => a - b)
    return others.slice(0, nearest).reduce((sum, distance) => sum + distance, 0)
  })
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let j = 0; j < a.length; j += 1) sum += (a[j]! - b[j]!) ** 2
  return sum
}
