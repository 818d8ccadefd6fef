import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MOST_SEQUENCES, pairedEvidence, pairedEvidenceSchema } from '../model/paired-evidence.ts'
import { randomFrom } from '../plan/random.ts'
import { differenceOf, type Evidence } from './evidence.ts'

const losses = fc.array(fc.double({ min: 0, max: 20, noNaN: true }), { minLength: 2, maxLength: 40 })

describe('pairedEvidence', () => {
  it('is what its schema takes, and keeps the spread', () => {
    fc.assert(
      fc.property(losses, losses, (a, b) => {
        const size = Math.min(a.length, b.length)
        const evidence = pairedEvidence(a.slice(0, size), b.slice(0, size))!
        expect(pairedEvidenceSchema.parse(JSON.parse(JSON.stringify(evidence)))).toEqual(evidence)
        const changes = Array.from({ length: size }, (_, i) => b[i]! - a[i]!)
        const deviation = Math.sqrt(varianceOf(changes))
        const ratio = (Math.sqrt(varianceOf(evidence.steps)) * evidence.unit) / deviation
        if (deviation > 1e-6) expect(Math.abs(ratio - 1)).toBeLessThan(0.15)
      }),
    )
  })

  it('tells neither order nor mean', () => {
    expect(pairedEvidence([1, 1, 1, 1], [1, 5, 3, 7])).toEqual(pairedEvidence([2, 2, 2, 2], [4, 8, 6, 2]))
  })

  it('tells at most so many sequences, and nothing that cannot be paired', () => {
    const many = Array.from({ length: 2000 }, (_, i) => i % 7)
    expect(pairedEvidence(many, many.toReversed())?.steps).toHaveLength(MOST_SEQUENCES)
    expect(pairedEvidence([1, 2, 3], [1, 2])).toBeUndefined()
    expect(pairedEvidence([1], [2])).toBeUndefined()
    expect(pairedEvidence([1, Number.NaN], [1, 2])).toBeUndefined()
  })

  it.each([
    ['a unit of NaN', { unit: Number.NaN, steps: [0, 1] }],
    ['a negative unit', { unit: -1, steps: [0, 1] }],
    ['steps out of order', { unit: 1, steps: [1, 0] }],
    ['half a step', { unit: 1, steps: [0, 0.5] }],
    ['too many', { unit: 1, steps: new Array(MOST_SEQUENCES + 1).fill(0) }],
    ['one', { unit: 1, steps: [0] }],
  ])('refuses %s', (_, wrong) => {
    expect(pairedEvidenceSchema.safeParse(wrong).success).toBe(false)
  })
})

describe('differenceOf', () => {
  it('holds the true difference about as often as it says', () => {
    const random = randomFrom('coverage')
    let missed = 0
    const trials = 200
    for (let trial = 0; trial < trials; trial += 1) {
      const changes = Array.from({ length: 40 }, () => 0.1 * random.normal())
      const { low, high } = differenceOf([text(changes)], [1], randomFrom(`trial ${trial}`))
      if (low > 0 || high < 0) missed += 1
    }
    // 1 % is promised; the binomial distribution of 200 trials passes 8 once in 1,000 times.
    expect(missed).toBeLessThanOrEqual(8)
  })

  it('agrees with the normal interval where both are sound, and resamples within each text', () => {
    const random = randomFrom('spread')
    const one = text(Array.from({ length: 300 }, () => random.normal()))
    const other = text(Array.from({ length: 300 }, () => 3 + 0.5 * random.normal()))
    const { method, low, high } = differenceOf([one, other], [0.5, 0.5], randomFrom('draws'))
    const half = 2.576 * Math.hypot(0.5 * (1 / Math.sqrt(300)), 0.5 * (0.5 / Math.sqrt(300)))
    expect(method).toBe('bootstrap')
    expect((high - low) / 2 / half).toBeGreaterThan(0.9)
    expect((high - low) / 2 / half).toBeLessThan(1.1)
    const many = Array.from({ length: 14 }, () => one)
    expect(
      differenceOf(
        many,
        many.map(() => 1 / 14),
        randomFrom('x'),
      ).method,
    ).toBe('normal')
  })

  it('falls back to the band when one text tells no pairs, or too few', () => {
    const plain = { ...text([0.1, 0.2]), paired: null }
    expect(differenceOf([text([1, 2, 3, 4, 5, 6, 7, 8]), plain], [0.5, 0.5], randomFrom('x')).method).toBe('band')
    expect(differenceOf([text([0.1, 0.2, 0.3])], [1], randomFrom('x')).method).toBe('band')
  })
})

/** A text whose sequences changed by these amounts; its means are told exactly. */
function text(changes: readonly number[]): Evidence {
  const mean = changes.reduce((sum, change) => sum + change, 0) / changes.length
  const score = (value: number) => ({ mean: value, standardError: 0.5, tokens: 1000 })
  const paired =
    pairedEvidence(
      changes.map(() => 5),
      changes.map((change) => 5 + change),
    ) ?? null
  return { base: score(5), candidate: score(5 + mean), paired }
}

function varianceOf(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
}
