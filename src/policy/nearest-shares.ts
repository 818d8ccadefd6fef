/** A limit on what a group may have together: sum of `parts[k] * share[members[k]]` is at most `limit`. */
export type Bound = {
  readonly members: readonly number[]
  /** How much of each member counts, above 0 and up to 1. */
  readonly parts: readonly number[]
  readonly limit: number
}

/** A linear constraint `sum values[k] * x[indices[k]] >= least`. */
type Constraint = { readonly indices: readonly number[]; readonly values: readonly number[]; readonly least: number }

/** Violations are measured in the metric of the objective; beyond this one is real, below it is rounding. */
const TOLERANCE = 1e-12
/** Every bound is this much wider inside: bounds that only one point keeps would else be lost to rounding. */
const ROOM = 1e-10
/** What shares may be off by. */
const KEPT = 5e-10
/** A constraint whose normal lies this near to the span of those that hold already adds nothing new. */
const DEPENDENT = 1e-10

/**
 * The shares nearest to the wished ones that keep every bound: they minimise
 * `sum (x_i - wish_i)^2 / wish_i`, the relative change, over x >= 0 with sum 1. Where the bounds are
 * on disjoint groups this is water-filling: a group over its limit is scaled down to it, all others
 * grow by one common factor.
 *
 * Solved by the dual active-set method of Goldfarb and Idnani 1983 (Mathematical Programming 27),
 * which begins at the wish, adds the most violated constraint and drops those that no longer press,
 * and ends after finitely many steps with the one solution or with the proof that there is none.
 * Only additions, multiplications, divisions and square roots in a fixed order: the same bits on
 * every machine.
 * @param wish above 0, adding up to 1
 * @returns shares within 1e-9 of the bounds, adding up to 1 but for rounding; undefined when no shares keep them
 */
export function nearestShares(wish: readonly number[], bounds: readonly Bound[]): number[] | undefined {
  const x = [...wish]
  const total: Constraint = { indices: wish.map((_, i) => i), values: wish.map(() => 1), least: 1 }
  const constraints = bounds.map(({ members, parts, limit }) =>
    normalised({ indices: members, values: parts.map((part) => -part), least: -limit - ROOM }, wish),
  )
  const active: Active[] = [{ constraint: normalised(total, wish), multiplier: 0, key: -1 }]
  const mostSteps = 100 + 10 * (bounds.length + wish.length)
  for (let step = 0; step < mostSteps; step += 1) {
    const worst = worstOf(x, wish, constraints, active)
    if (worst === undefined) return keeping(x, bounds)
    if (!enforce(worst, x, wish, active)) return undefined
  }
  return undefined
}

/** The same constraint with a normal of length 1 in the metric of the objective, so that all are of one scale. */
function normalised({ indices, values, least }: Constraint, wish: readonly number[]): Constraint {
  const length = Math.sqrt(indices.reduce((sum, i, k) => sum + values[k]! ** 2 * wish[i]!, 0))
  return { indices, values: values.map((value) => value / length), least: least / length }
}

/** Nothing leaves here unchecked: where rounding has got the better of the method, no shares are known to keep the bounds. */
function keeping(x: readonly number[], bounds: readonly Bound[]): number[] | undefined {
  const shares = x.map((share) => Math.max(0, share))
  const off = Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1)
  const kept = bounds.every(({ members, parts, limit }) => {
    const held = members.reduce((sum, i, k) => sum + parts[k]! * shares[i]!, 0)
    return held <= limit + KEPT
  })
  return kept && off <= KEPT ? shares : undefined
}

type Active = { readonly constraint: Constraint; multiplier: number; readonly key: number }

/** The constraint that is violated most; the first of equals. Keys: bounds by number, then shares by number. */
function worstOf(
  x: readonly number[],
  wish: readonly number[],
  constraints: readonly Constraint[],
  active: readonly Active[],
): { readonly constraint: Constraint; readonly key: number } | undefined {
  const held = new Set(active.map(({ key }) => key))
  let worst: { constraint: Constraint; key: number } | undefined
  let most = TOLERANCE
  constraints.forEach((constraint, key) => {
    const violation = -slack(constraint, x)
    if (violation > most && !held.has(key)) [worst, most] = [{ constraint, key }, violation]
  })
  x.forEach((share, i) => {
    const violation = -share / Math.sqrt(wish[i]!)
    if (violation > most && !held.has(constraints.length + i)) {
      const constraint = { indices: [i], values: [1 / Math.sqrt(wish[i]!)], least: 0 }
      worst = { constraint, key: constraints.length + i }
      most = violation
    }
  })
  return worst
}

function slack({ indices, values, least }: Constraint, x: readonly number[]): number {
  return indices.reduce((sum, i, k) => sum + values[k]! * x[i]!, 0) - least
}

/** Moves `x` until the constraint holds, dropping others on the way. False when it cannot hold beside the rest. */
function enforce(
  { constraint, key }: { readonly constraint: Constraint; readonly key: number },
  x: number[],
  wish: readonly number[],
  active: Active[],
): boolean {
  let multiplier = 0
  for (;;) {
    const along = solve(active, constraint, wish)
    const direction = directionOf(constraint, active, along, wish)
    const square = dot(constraint, direction)
    const whole = square > DEPENDENT ? -slack(constraint, x) / square : Number.POSITIVE_INFINITY
    const { index, length } = firstToDrop(active, along)
    const step = Math.min(whole, length)
    if (step === Number.POSITIVE_INFINITY) return false
    if (whole < Number.POSITIVE_INFINITY) for (const i of x.keys()) x[i] = x[i]! + step * direction[i]!
    for (const [k, one] of active.entries()) one.multiplier -= step * along[k]!
    multiplier += step
    if (step === whole) {
      active.push({ constraint, multiplier, key })
      return true
    }
    active.splice(index, 1)
  }
}

/** The first inequality whose multiplier would become negative along the way; the total is never dropped. */
function firstToDrop(active: readonly Active[], along: readonly number[]): { index: number; length: number } {
  let [index, length] = [-1, Number.POSITIVE_INFINITY]
  active.forEach(({ multiplier, key }, k) => {
    const rate = along[k]!
    if (key < 0 || rate <= TOLERANCE) return
    const until = Math.max(0, multiplier) / rate
    if (until < length) [index, length] = [k, until]
  })
  return { index, length }
}

/** `wish * (n - sum along_k n_k)`: the step that changes the constraint and leaves the active ones as they are. */
function directionOf(
  constraint: Constraint,
  active: readonly Active[],
  along: readonly number[],
  wish: readonly number[],
): Float64Array {
  const sum = new Float64Array(wish.length)
  addTo(sum, constraint, 1)
  for (const [k, one] of active.entries()) addTo(sum, one.constraint, -along[k]!)
  return sum.map((value, i) => value * wish[i]!)
}

function addTo(sum: Float64Array, { indices, values }: Constraint, factor: number): void {
  for (const [k, i] of indices.entries()) sum[i] = sum[i]! + factor * values[k]!
}

function dot({ indices, values }: Constraint, vector: Float64Array): number {
  return indices.reduce((sum, i, k) => sum + values[k]! * vector[i]!, 0)
}

/** Coefficients of the active normals whose sum is nearest to the constraint's: the normal equations, by elimination. */
function solve(active: readonly Active[], constraint: Constraint, wish: readonly number[]): number[] {
  const normals = [...active.map((one) => one.constraint), constraint]
  const dense = normals.map((normal) => {
    const row = new Float64Array(wish.length)
    addTo(row, normal, 1)
    return row.map((value, i) => value * wish[i]!)
  })
  const size = active.length
  const rows = Array.from({ length: size }, (_, a) =>
    Array.from({ length: size + 1 }, (_, b) => dot(normals[a]!, dense[b]!)),
  )
  for (let pivot = 0; pivot < size; pivot += 1) {
    const best = largest(rows, pivot)
    ;[rows[pivot], rows[best]] = [rows[best]!, rows[pivot]!]
    for (let row = pivot + 1; row < size; row += 1) {
      const factor = rows[row]![pivot]! / rows[pivot]![pivot]!
      for (let column = pivot; column <= size; column += 1) rows[row]![column]! -= factor * rows[pivot]![column]!
    }
  }
  const solution = new Array<number>(size).fill(0)
  for (let row = size - 1; row >= 0; row -= 1) {
    let rest = rows[row]![size]!
    for (let column = row + 1; column < size; column += 1) rest -= rows[row]![column]! * solution[column]!
    solution[row] = rest / rows[row]![row]!
  }
  return solution
}

function largest(rows: readonly (readonly number[])[], column: number): number {
  let best = column
  for (let row = column + 1; row < rows.length; row += 1) {
    if (Math.abs(rows[row]![column]!) > Math.abs(rows[best]![column]!)) best = row
  }
  return best
}
