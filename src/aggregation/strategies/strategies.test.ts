import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Combine, Contribution } from './contribution.ts'
import { geometricMedian } from './geometric-median.ts'
import { krum, multiKrum } from './krum.ts'
import { clippedMean, uniformMean, weightedMean } from './mean.ts'
import { dare, slerp, ties } from './model-merging.ts'
import { median, trimmedMean } from './order-statistics.ts'
import {
  fedAdagrad,
  fedAdam,
  fedYogi,
  gradientDescent,
  heavyBall,
  NO_STATE,
  nesterov,
  type ServerOptimiser,
} from './server-optimiser.ts'
import { applyStrategy } from './strategy.ts'

const of = (weight: number, ...values: number[]): Contribution => ({ delta: Float32Array.from(values), weight })
const ones = (...vectors: number[][]) => vectors.map((values) => of(1, ...values))

function expectClose(actual: Float32Array, expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length)
  for (const [j, value] of expected.entries()) expect(actual[j]).toBeCloseTo(value, 5)
}

describe('numbers that other systems agree on', () => {
  test('the mean weighted by samples', () => {
    const contributions = [of(1, 1, 2, 3, 4, 5, 6), of(2, 29, 23, 19, 17, 13, 11)]
    expectClose(weightedMean(contributions), [19.666667, 16, 13.666667, 12.666667, 10.333333, 9.333333])
  })

  test('the mean weighted by timeliness', () => {
    const contributions = [of(0.5, 2, 3, 1.1, 0.1), of(1, 1, 1, 2.1, 0.5)]
    expectClose(weightedMean(contributions), [1.333333, 1.666667, 1.766667, 0.366667])
  })

  test('FedAdagrad', () => {
    const optimise = fedAdagrad({ rate: 0.1, beta1: 0, beta2: 0, tau: 0.5, initialVariance: 0 })
    const previous = 0.1
    const { delta } = applyStrategy({ combine: weightedMean, optimise }, ones([0.2 - previous], [1 - previous]))
    expectClose(delta, [0.15 - previous])
  })

  test('the median', () => {
    const contributions = ones([1, 0.2, 0.5, 1], [0.2, 0.5, 1, 0.2], [0.5, 1, 0.2, 0.5])
    expectClose(median(contributions), [0.5, 0.5, 0.5, 0.5])
  })

  test('Krum with one hostile contribution of three', () => {
    expectClose(krum(1)(ones([0.2], [0.7], [1])), [0.7])
  })
})

describe('numbers worked out by hand', () => {
  test('means: uniform, clipped, trimmed, median of four', () => {
    expectClose(uniformMean([of(1, 1), of(100, 3)]), [2])
    expectClose(clippedMean(1)([of(1, 3, 4), of(1, 0, 0.5)]), [0.3, 0.65])
    expectClose(trimmedMean(0.25)(ones([1], [100], [3], [-100])), [2])
    expectClose(median(ones([1], [100], [3], [-100])), [2])
  })

  test('multi-Krum leaves out the two that are far away', () => {
    expectClose(multiKrum(2, 3)(ones([1], [1.1], [50], [0.9], [-70])), [1])
  })

  test('the geometric median: a majority decides, and of a square it is the centre', () => {
    expectClose(geometricMedian(1e-6)(ones([0, 0], [0, 0], [0, 0], [9, 9])), [0, 0])
    expectClose(geometricMedian(1e-6)(ones([0, 0], [0, 2], [2, 0], [2, 2])), [1, 1])
    expectClose(geometricMedian(1e-6)([of(1, 0), of(1, 5), of(3, 7)]), [7])
  })

  test('TIES: trims, elects signs, averages what agrees', () => {
    const contributions = ones([4, -1, 0.1, 2], [2, 3, -0.2, -5])
    // Kept at density 0.5: [4, 0, 0, 2] and [0, 3, 0, -5].
    expectClose(ties(0.5, 1)(contributions), [4, 3, 0, -5])
    expectClose(ties(1, 0.5)(contributions), [1.5, 1.5, -0.1, -2.5])
    expectClose(ties(0.5, 1)(ones([1, 1, 1, 1])), [1, 1, 0, 0])
  })

  test('SLERP: half a right angle, unequal weights, and vectors without one arc', () => {
    expectClose(slerp(ones([1, 0], [0, 1])), [Math.SQRT1_2, Math.SQRT1_2])
    expectClose(slerp([of(2, 1, 0), of(1, 0, 1)]), [Math.cos(Math.PI / 6), 0.5])
    expectClose(slerp(ones([1, 1], [3, 3])), [2, 2])
    expectClose(slerp(ones([0, 0], [2, 4])), [1, 2])
    expectClose(slerp(ones([1, 0], [-1, 0])), [0, 0])
  })

  test('DARE keeps the sum in expectation, repeats itself, and depends on its seed', () => {
    const contribution = of(1, ...new Array(20_000).fill(1))
    const result = dare(0.75, 42)([contribution])
    expect(new Set(result)).toEqual(new Set([0, 4]))
    expect(result.reduce((sum, value) => sum + value, 0) / 20_000).toBeCloseTo(1, 1)
    expect(dare(0.75, 42)([contribution])).toEqual(result)
    expect(dare(0.75, 43)([contribution])).not.toEqual(result)
    const pair = dare(0.5, 1)([contribution, contribution])
    expect(new Set(pair)).toEqual(new Set([0, 1, 2]))
  })

  const twoRounds = (optimise: ServerOptimiser) => {
    const first = optimise(Float32Array.of(1), NO_STATE)
    return [first.delta[0], optimise(Float32Array.of(2), first.state).delta[0]]
  }
  const adaptive = { rate: 1, beta1: 0.5, beta2: 0.75, tau: 1, initialVariance: 0 }

  test.each<[string, ServerOptimiser, number[]]>([
    ['gradient descent', gradientDescent(0.5), [0.5, 1]],
    ['FedAvgM', heavyBall(1, 0.5), [1, 2.5]],
    // DiLoCo: m = 1 then 2.5; 0.5 * (1 + 0.5), 0.5 * (2 + 1.25).
    ['Nesterov', nesterov(0.5, 0.5), [0.75, 1.625]],
    // m = 0.5 then 1.25; v = 1 then 5.
    ['FedAdagrad', fedAdagrad(adaptive), [0.5 / 2, 1.25 / (Math.sqrt(5) + 1)]],
    // v = 0.25 then 0.1875 + 1.
    ['FedAdam', fedAdam(adaptive), [0.5 / 1.5, 1.25 / (Math.sqrt(1.1875) + 1)]],
    // v = 0 + 0.25 then 0.25 + 1.
    ['FedYogi', fedYogi(adaptive), [0.5 / 1.5, 1.25 / (Math.sqrt(1.25) + 1)]],
  ])('%s over two rounds', (_, optimise, expected) => {
    expectClose(Float32Array.from(twoRounds(optimise).map((value) => value!)), expected)
  })
})

const COMBINERS: [string, Combine][] = [
  ['uniformMean', uniformMean],
  ['weightedMean', weightedMean],
  ['clippedMean', clippedMean(1e9)],
  ['median', median],
  ['trimmedMean', trimmedMean(0.2)],
  ['krum', krum(1)],
  ['multiKrum', multiKrum(1, 2)],
  ['geometricMedian', geometricMedian(1e-6)],
  ['ties', ties(1, 1)],
  ['dare', dare(0, 1)],
]

describe.each([...COMBINERS, ['slerp', slerp] as [string, Combine]])('%s', (name, combine) => {
  const value = fc.float({ min: -1000, max: 1000, noNaN: true })
  const count = name === 'slerp' ? 2 : 5

  test('equal contributions give themselves, and inputs are not changed', () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 20 }), (values) => {
        const contributions = Array.from({ length: count }, () => of(1, ...values))
        const result = combine(contributions)
        for (const [j, x] of Float32Array.from(values).entries()) {
          expect(Math.abs(result[j]! - x)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(x)))
        }
        expect(contributions).toEqual(Array.from({ length: count }, () => of(1, ...values)))
      }),
      { seed: 3, numRuns: 30 },
    )
  })

  test('stays within the box of its inputs', () => {
    if (name === 'slerp') return
    const vectors = fc.array(fc.tuple(value, value, value), { minLength: count, maxLength: count })
    fc.assert(
      fc.property(vectors, (columns) => {
        const result = combine(columns.map((column) => of(1, ...column)))
        for (const [j, x] of result.entries()) {
          const inputs = columns.map((column) => Math.fround(column[j]!))
          expect(x).toBeGreaterThanOrEqual(Math.min(...inputs, 0) - 1e-3)
          expect(x).toBeLessThanOrEqual(Math.max(...inputs, 0) + 1e-3)
        }
      }),
      { seed: 4, numRuns: 30 },
    )
  })

  test.each<[string, Contribution[]]>([
    ['nothing', []],
    ['unequal lengths', [of(1, 1, 2), of(1, 1), of(1, 1, 2)]],
    ['NaN', [of(1, Number.NaN), of(1, 1), of(1, 1)]],
    ['infinity', [of(1, 1), of(1, Number.NEGATIVE_INFINITY), of(1, 1)]],
    ['a negative weight', [of(-1, 1), of(2, 1), of(1, 1)]],
    ['a NaN weight', [of(Number.NaN, 1), of(2, 1), of(1, 1)]],
    ['weights that add up to infinity', [of(1e308, 1), of(1e308, 1), of(1e308, 1)]],
  ])('refuses %s', (_, contributions) => {
    expect(() => combine(contributions)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('robust strategies', () => {
  test.each<[string, Combine]>([
    ['median', median],
    ['trimmedMean', trimmedMean(0.3)],
    ['krum', krum(2)],
    ['multiKrum', multiKrum(2, 3)],
    ['geometricMedian', geometricMedian(1e-6)],
  ])('%s stays with the honest five of seven, however large the others', (_, combine) => {
    const honest = ones([1, 2], [1.01, 2.02], [0.99, 1.98], [1.02, 2], [1, 2.01])
    fc.assert(
      fc.property(fc.float({ min: 10, max: Math.fround(1e30), noNaN: true }), (attack) => {
        const result = combine([...honest, of(1, attack, -attack), of(1, attack, -attack)])
        expect(Math.abs(result[0]! - 1)).toBeLessThan(0.1)
        expect(Math.abs(result[1]! - 2)).toBeLessThan(0.1)
      }),
      { seed: 5, numRuns: 40 },
    )
  })
})

test.each<[string, () => unknown]>([
  ['clippedMean', () => clippedMean(0)],
  ['trimmedMean', () => trimmedMean(0.5)],
  ['trimmedMean', () => trimmedMean(Number.NaN)],
  ['krum', () => krum(-1)],
  ['krum', () => krum(3)(ones([1], [1]))],
  ['multiKrum', () => multiKrum(0, 3)(ones([1], [1]))],
  ['geometricMedian', () => geometricMedian(Number.NaN)],
  ['ties', () => ties(0, 1)],
  ['dare', () => dare(1, 1)],
  ['slerp', () => slerp(ones([1]))],
  ['slerp', () => slerp(ones([1], [2], [3]))],
  ['nesterov', () => nesterov(0.7, 1)],
  ['gradientDescent', () => gradientDescent(Number.POSITIVE_INFINITY)],
  ['fedAdam', () => fedAdam({ rate: 1, beta1: 0.9, beta2: 0.99, tau: 0, initialVariance: 0 })],
  [
    'a state of another length',
    () => heavyBall(1, 0)(Float32Array.of(1), { ...NO_STATE, momentum: Float32Array.of(1, 2) }),
  ],
])('%s refuses parameters that mean nothing', (_, make) => {
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
