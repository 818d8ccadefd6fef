import { TapestryError } from '../core/error.ts'

/** What the rules below know of the deltas: their number and the dot product of each pair, in f64. */
type Dots = { readonly count: number; readonly of: (i: number, j: number) => number }

/** As in strategies/geometric-median.ts: after so many steps f32 shows no difference on ordinary input. */
const MAX_STEPS = 200
const STILL = 1e-10

/** Coefficients of the clipped mean: w_i min(1, limit / |x_i|). Sun et al. 2019 (arXiv:1911.07963), section 5. */
export function clippedCoefficients(weights: readonly number[], norms: readonly number[], limit: number): number[] {
  return weights.map((weight, i) => {
    const norm = norms[i] ?? 0
    return norm <= limit ? weight : weight * (limit / norm)
  })
}

/**
 * Coefficients of elastic averaging: alpha for each of n equal weights, n alpha w_i in general, so that the
 * model moves by beta = n alpha of its distance to the mean of those that took part: Zhang, Choromanska and
 * LeCun 2015 (arXiv:1412.6651), equation 6.
 */
export function elasticCoefficients(weights: readonly number[], alpha: number): number[] {
  return weights.map((weight) => weights.length * alpha * weight)
}

/**
 * Coefficients of multi-Krum (Krum for one chosen): 1 / chosen for those whose squared distances to
 * their n - byzantine - 2 nearest others add up to the least, 0 for the others; ties go to the first.
 * Blanchard et al. 2017 (NeurIPS), sections 4 and 5. |x - y|^2 = xx + yy - 2 xy: exact but for the
 * rounding of the f64 sums, so that distances below some 1e-7 of the norms count as ties.
 * @throws TapestryError INVALID_ARGUMENT when there are not more deltas than hostile ones, or fewer than chosen
 */
export function krumCoefficients(dots: Dots, byzantine: number, chosen: number): number[] {
  const { count } = dots
  if (byzantine >= count || chosen > count) {
    throw new TapestryError('INVALID_ARGUMENT', `${count} contributions are too few for Krum`)
  }
  const nearest = Math.min(count - 1, Math.max(1, count - byzantine - 2))
  const scores = indices(count).map((i) => {
    const others = indices(count).filter((j) => j !== i)
    const distances = Float64Array.from(others, (j) => squaredDistance(dots, i, j)).sort()
    return distances.subarray(0, nearest).reduce((sum, distance) => sum + distance, 0)
  })
  const order = indices(count).sort((a, b) => scores[a]! - scores[b]! || a - b)
  const best = new Set(order.slice(0, chosen))
  return indices(count).map((i) => (best.has(i) ? 1 / chosen : 0))
}

function squaredDistance({ of }: Dots, i: number, j: number): number {
  return Math.max(0, of(i, i) + of(j, j) - 2 * of(i, j))
}

/**
 * Coefficients of the geometric median by the smoothed Weiszfeld algorithm: Pillutla et al. 2022, RFA
 * (arXiv:1912.13445), algorithm 2. Every iterate is z = sum b_i x_i with b adding up to 1, so its
 * distance to x_i is a function of b and the dot products alone,
 *
 *     |x_i - z|^2 = x_i x_i - 2 sum_k b_k x_i x_k + sum_k sum_l b_k b_l x_k x_l,
 *
 * and the steps on b are the algorithm itself, not an approximation of it: no further pass over the
 * data is needed, whatever the number of steps.
 * @param smoothing distances below it count as equal
 */
export function medianCoefficients(dots: Dots, weights: readonly number[], smoothing: number): number[] {
  const gram = indices(dots.count).map((i) => Float64Array.from(indices(dots.count), (j) => dots.of(i, j)))
  const times = (b: Float64Array) => Float64Array.from(gram, (row) => product(row, b))
  let b = normalised(Float64Array.from(weights))
  for (let step = 0; step < MAX_STEPS; step += 1) {
    const along = times(b)
    const square = product(b, along)
    const distance = (i: number) => Math.sqrt(Math.max(0, gram[i]![i]! - 2 * along[i]! + square))
    const next = normalised(Float64Array.from(weights, (weight, i) => weight / Math.max(smoothing, distance(i))))
    const change = next.map((value, i) => value - b[i]!)
    b = next
    const moved = Math.max(0, product(change, times(change)))
    if (moved <= STILL ** 2 * Math.max(0, product(b, times(b)))) break
  }
  return [...b]
}

function normalised(values: Float64Array): Float64Array {
  const total = values.reduce((sum, value) => sum + value, 0)
  return values.map((value) => value / total)
}

function product(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0)
}

function indices(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
