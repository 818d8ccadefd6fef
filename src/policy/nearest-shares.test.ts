import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Bound, nearestShares } from './nearest-shares.ts'

const positive = fc.double({ min: 0.01, max: 10, noNaN: true })
const wishes = fc.array(positive, { minLength: 2, maxLength: 12 }).map(normalised)

/** Bounds that some shares keep: random groups, each allowed what a random point has in it, and a little more. */
const feasible = wishes.chain((wish) => {
  const size = wish.length
  const group = fc.array(fc.oneof(fc.constant(0), fc.double({ min: 0.05, max: 1, noNaN: true })), {
    minLength: size,
    maxLength: size,
  })
  const point = fc.array(fc.oneof(fc.constant(0), positive), { minLength: size, maxLength: size })
  const slack = fc.constantFrom(0, 1e-6, 0.01)
  return fc.tuple(
    fc.constant(wish),
    point.filter((some) => some.some((value) => value > 0)).map(normalised),
    fc.array(fc.tuple(group, slack), { maxLength: 8 }),
  )
})

describe('nearestShares', () => {
  it('is water-filling for disjoint groups: over the limit to the limit, the rest by one factor', () => {
    fc.assert(
      fc.property(wishes, fc.double({ min: 0.01, max: 1, noNaN: true }), (wish, cap) => {
        fc.pre(cap * wish.length > 1 + 1e-6)
        const bounds = wish.map((_, i): Bound => ({ members: [i], parts: [1], limit: cap }))
        const shares = nearestShares(wish, bounds)!
        const expected = waterFilled(wish, cap)
        shares.forEach((share, i) => void expect(share).toBeCloseTo(expected[i]!, 8))
      }),
    )
  })

  it('keeps overlapping bounds whenever some shares keep them', () => {
    fc.assert(
      fc.property(feasible, ([wish, point, groups]) => {
        const bounds = groups.map(([parts, slack]) => boundOf(parts, dot(parts, point) + slack))
        const shares = nearestShares(wish, bounds)
        expect(shares).toBeDefined()
        expect(shares!.every((share) => share >= 0)).toBe(true)
        expect(sum(shares!)).toBeCloseTo(1, 9)
        for (const bound of bounds)
          expect(bound.members.reduce((total, i, k) => total + bound.parts[k]! * shares![i]!, 0)).toBeLessThan(
            bound.limit + 1e-9,
          )
        // No feasible point is nearer: the objective is convex, so none on the way to another feasible point may be.
        expect(distance(shares!, wish)).toBeLessThanOrEqual(distance(point, wish) + 1e-9)
      }),
      { numRuns: 500 },
    )
  })

  it('changes nothing where nothing is over, and nothing when it is asked again', () => {
    fc.assert(
      fc.property(feasible, ([wish, point, groups]) => {
        const bounds = groups.map(([parts, slack]) => boundOf(parts, dot(parts, point) + slack))
        expect(nearestShares(wish, [])).toEqual(wish)
        const once = nearestShares(wish, bounds)!
        fc.pre(once.every((share) => share > 1e-6))
        nearestShares(once, bounds)!.forEach((share, i) => void expect(share).toBeCloseTo(once[i]!, 8))
      }),
    )
  })

  it('says when no shares keep the bounds', () => {
    const all = (limit: number) => [0, 1, 2].map((i): Bound => ({ members: [i], parts: [1], limit }))
    expect(nearestShares([0.2, 0.3, 0.5], all(0.33))).toBeUndefined()
    expect(nearestShares([0.2, 0.3, 0.5], all(1 / 3))).toEqual(
      [1 / 3, 1 / 3, 1 / 3].map((third) => expect.closeTo(third, 9)),
    )
    expect(nearestShares([1], [{ members: [0], parts: [0.9], limit: 0.5 }])).toBeUndefined()
  })

  it('finds shares where fair filling would get stuck', () => {
    // Members {a, b} and {c}, languages {a, c} and {b}, each at most half: only a = 0 adds up to 1.
    const bound = (...members: number[]): Bound => ({ members, parts: members.map(() => 1), limit: 0.5 })
    const shares = nearestShares([1 / 3, 1 / 3, 1 / 3], [bound(0, 1), bound(2), bound(0, 2), bound(1)])
    expect(shares).toEqual([expect.closeTo(0, 9), expect.closeTo(0.5, 9), expect.closeTo(0.5, 9)])
  })
})

function boundOf(parts: readonly number[], limit: number): Bound {
  const members = parts.flatMap((part, i) => (part > 0 ? [i] : []))
  return { members, parts: members.map((i) => parts[i]!), limit }
}

/** The closed form: cap the largest, scale the others, until none is over. */
function waterFilled(wish: readonly number[], cap: number): number[] {
  const fixed = new Set<number>()
  for (;;) {
    const free = wish.map((share, i) => (fixed.has(i) ? 0 : share))
    const factor = (1 - cap * fixed.size) / sum(free)
    const over = wish.flatMap((share, i) => (!fixed.has(i) && share * factor > cap ? [i] : []))
    if (over.length === 0) return wish.map((share, i) => (fixed.has(i) ? cap : share * factor))
    for (const i of over) fixed.add(i)
  }
}

function distance(shares: readonly number[], wish: readonly number[]): number {
  return sum(shares.map((share, i) => (share - wish[i]!) ** 2 / wish[i]!))
}

function normalised(values: readonly number[]): number[] {
  return values.map((value) => value / sum(values))
}

function dot(a: readonly number[], b: readonly number[]): number {
  return sum(a.map((value, i) => value * b[i]!))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
