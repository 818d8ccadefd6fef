import { expect, test } from 'vitest'
import { robustScores } from '../core/robust-scores.ts'
import { diagnose, diagnosticsSchema } from './diagnostics.ts'
import type { RoundResult } from './merge-round.ts'

test('robust z-scores: of the example, of equal values, of almost equal values, of none', () => {
  // Median 3, MAD 1.
  expect(robustScores([1, 2, 3, 4, 100])).toEqual([-1.349, -0.6745, 0, 0.6745, 65.4265])
  expect(robustScores([2, 2, 2])).toEqual([0, 0, 0])
  expect(robustScores([2, 2, 2, 2, 12]).map((score) => Math.round(score * 100) / 100)).toEqual([0, 0, 0, 0, 3.99])
  expect(robustScores([5])).toEqual([0])
  expect(robustScores([])).toEqual([])
})

const result = (vectors: readonly (readonly [number, number])[]): RoundResult => ({
  deltaNorm: 1,
  norms: vectors.map(([x, y]) => Math.hypot(x, y)),
  cosines: vectors.map(() => 0.5),
  retained: vectors.map(() => 0.2),
  files: [],
  coefficients: vectors.map(() => 1 / vectors.length),
  elements: 2,
  dots: {
    count: vectors.length,
    elements: 2,
    of: (i, j) => (vectors[i]?.[0] ?? 0) * (vectors[j]?.[0] ?? 0) + (vectors[i]?.[1] ?? 0) * (vectors[j]?.[1] ?? 0),
  },
})

test('finds the one that is too large and the one that points elsewhere', () => {
  const vectors = [
    [1, 0],
    [1.1, 0.1],
    [0.9, 0.05],
    [1.05, 0.08],
    [1, -0.1],
    [40, 0],
    [-1, 0],
  ] as const
  const nodes = vectors.map((_, i) => `node-${i}`)
  const { contributions, cosines } = diagnose(nodes, result(vectors))
  expect(contributions.filter(({ outlier }) => outlier).map(({ node }) => node)).toEqual(['node-5', 'node-6'])
  expect(cosines?.[0]?.[6]).toBe(-1)
  expect(cosines?.map((row, i) => row[i]?.toFixed(9))).toEqual(vectors.map(() => '1.000000000'))
})

test('survives its JSON form, with zero deltas and without a comparison', () => {
  const compared = diagnose(
    ['a', 'b'],
    result([
      [0, 0],
      [1, 0],
    ]),
  )
  expect(diagnosticsSchema.parse(JSON.parse(JSON.stringify(compared)))).toEqual(compared)
  const alone = diagnose(['a'], { ...result([[1, 0]]), dots: undefined, coefficients: undefined })
  expect(diagnosticsSchema.parse(JSON.parse(JSON.stringify(alone)))).toEqual(alone)
  expect(alone).toMatchObject({
    cosines: null,
    comparedElements: 0,
    contributions: [{ coefficient: null, agreement: null }],
  })
})
