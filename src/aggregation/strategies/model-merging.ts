import { type Combine, type Contribution, ensureContributions, ensureWithin, invalid, normOf } from './contribution.ts'
import { weightedMean } from './mean.ts'

/**
 * TIES: keep of each delta the ceil(density * length) elements of largest magnitude (ties: the first),
 * elect for each element the sign of the weighted sum, and average those that agree with it, times
 * `strength`. Yadav et al. 2023 (arXiv:2306.01708), algorithm 1; weights as in its later use, 1 in the paper.
 * @param density above 0, to 1 @param strength the paper's lambda
 */
export function ties(density: number, strength: number): Combine {
  ensureWithin('density', density, Number.MIN_VALUE, 1)
  ensureWithin('strength', strength, 0, Number.MAX_VALUE)
  return (contributions) => {
    const length = ensureContributions(contributions)
    const kept = contributions.map(({ delta, weight }) => ({ delta: largest(delta, density), weight }))
    return disjointMean(kept, length, strength)
  }
}

/** `delta` with zeros in place of all but its largest elements. */
function largest(delta: Float32Array, density: number): Float32Array {
  const keep = Math.ceil(density * delta.length)
  const magnitudes = delta.map(Math.abs).sort().reverse()
  const least = magnitudes[keep - 1] ?? 0
  let ties = keep - magnitudes.indexOf(least)
  return delta.map((value) => {
    if (Math.abs(value) > least) return value
    return Math.abs(value) === least && ties-- > 0 ? value : 0
  })
}

/**
 * Elects the sign of each element by the weighted sum, and averages those that agree with it, times `strength`: the
 * second and third step of TIES. Where the sum is 0 nothing is elected.
 */
export function disjointMean(kept: readonly Contribution[], length: number, strength: number): Float32Array {
  const merged = new Float32Array(length)
  const votes = new Float64Array(length)
  const totals = new Float64Array(length)
  const sums = new Float64Array(length)
  for (const { delta, weight } of kept) {
    for (let j = 0; j < length; j += 1) votes[j]! += weight * delta[j]!
  }
  for (const { delta, weight } of kept) {
    for (let j = 0; j < length; j += 1) {
      // Not by their product, which may underflow.
      const agrees = votes[j]! > 0 ? delta[j]! > 0 : votes[j]! < 0 && delta[j]! < 0
      if (!agrees) continue
      sums[j]! += weight * delta[j]!
      totals[j]! += weight
    }
  }
  for (let j = 0; j < length; j += 1) merged[j] = totals[j] === 0 ? 0 : strength * (sums[j]! / totals[j]!)
  return merged
}

/**
 * DARE: drop each element with probability `rate`, divide those that stay by 1 - rate, then average.
 * Yu et al. 2024 (arXiv:2311.03099), section 3. What is dropped depends on the seed, the place of
 * the contribution and the element, and on nothing else.
 * @param rate from 0 to below 1 @param seed a u32
 */
export function dare(rate: number, seed: number): Combine {
  ensureWithin('rate', rate, 0, 1)
  if (rate === 1) throw invalid('dropping everything leaves nothing')
  ensureWithin('seed', seed, 0, 0xffffffff)
  return (contributions) => {
    ensureContributions(contributions)
    const dropped = contributions.map(({ delta, weight }, place) => {
      const kept = delta.slice()
      dropElements(kept, 0, { rate, seed, place })
      return { delta: kept, weight }
    })
    return weightedMean(dropped)
  }
}

/** What decides which elements of a delta are dropped. */
export type Drop = { readonly rate: number; readonly seed: number; readonly place: number }

/**
 * Drops elements of a stretch of a delta, in place, and rescales the others: the first two steps of DARE.
 * @param first number of the stretch's first element in the delta
 */
export function dropElements(stretch: Float32Array, first: number, { rate, seed, place }: Drop): void {
  const key = mix(mix(seed) ^ place)
  for (let i = 0; i < stretch.length; i += 1) {
    const high = Math.floor((first + i) / 2 ** 32)
    const own = high === 0 ? key : mix(key ^ mix(high))
    stretch[i] = mix(own ^ mix((first + i) >>> 0)) / 2 ** 32 < rate ? 0 : stretch[i]! / (1 - rate)
  }
}

/** A bijection of u32 that leaves no pattern: the finaliser "lowbias32" (C. Wellons, 2018), offset so that 0 moves. */
function mix(value: number): number {
  let x = (value + 0x9e3779b9) >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
  return (x ^ (x >>> 16)) >>> 0
}

/** Below this angle (in radians) the arc and the chord are the same in f32, and the sines would cancel. */
const FLAT = 1e-4

/**
 * SLERP of exactly two deltas a and b: the point at t = w_b / (w_a + w_b) of the arc between them,
 * (sin((1 - t) angle) a + sin(t angle) b) / sin(angle). Shoemake 1985 (SIGGRAPH), section 3.3.
 * Parallel, opposite or zero vectors have no one arc: they are interpolated along the chord.
 */
export const slerp: Combine = (contributions) => {
  const length = ensureContributions(contributions)
  const [a, b, ...more] = contributions
  if (a === undefined || b === undefined || more.length > 0) throw invalid('an arc is between exactly two deltas')
  const dot = a.delta.reduce((sum, value, j) => sum + value * b.delta[j]!, 0)
  const [from, to] = arcWeights(normOf(a.delta), normOf(b.delta), dot, b.weight / (a.weight + b.weight))
  return Float32Array.from({ length }, (_, j) => from * a.delta[j]! + to * b.delta[j]!)
}

/** What SLERP multiplies two vectors by, from their norms and their dot product. */
export function arcWeights(normA: number, normB: number, dot: number, t: number): [number, number] {
  const scale = normA * normB
  const angle = scale === 0 ? 0 : Math.acos(Math.max(-1, Math.min(1, dot / scale)))
  if (angle < FLAT || angle > Math.PI - FLAT) return [1 - t, t]
  return [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)]
}
