import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decideRelease, type Measurement, NOISE_BAND, poolScores, type Score } from './release.ts'

const score = fc.record({
  mean: fc.double({ min: 0, max: 20, noNaN: true }),
  standardError: fc.double({ min: 0, max: 2, noNaN: true }),
  tokens: fc.integer({ min: 1, max: 1e9 }),
})
const measurement = fc.record({
  language: fc.constantFrom('sw', 'de', 'yo', 'quz'),
  measuredBy: fc.constantFrom('node-a', 'node-b', 'coordinator'),
  base: score,
  candidate: score,
})
const measurements = fc.array(measurement, { minLength: 1, maxLength: 20 })

describe('decideRelease', () => {
  it('blocks a regression beyond the noise band and lets one inside it pass', () => {
    const band = NOISE_BAND * Math.hypot(0.03, 0.04)
    expect(decideRelease([measured('sw', 2, 2 + band * 1.001)])).toMatchObject({ release: false })
    expect(decideRelease([measured('sw', 2, 2 + band * 0.999)])).toMatchObject({ release: true })
    expect(decideRelease([measured('sw', 2, 1)])).toMatchObject({ release: true })
  })

  it('is not bought off by gains elsewhere, and names the language', () => {
    const decision = decideRelease([measured('de', 3, 1), measured('yo', 2, 2.5)])
    expect(decision.release).toBe(false)
    expect(decision).toMatchObject({ reason: expect.stringContaining('yo') })
    expect(decision.languages.map(({ language }) => language)).toEqual(['de', 'yo'])
  })

  it('takes no measurement as no proof', () => {
    expect(decideRelease([])).toMatchObject({ release: false, languages: [] })
  })

  it.each<[string, Partial<Score>]>([
    ['NaN', { mean: Number.NaN }],
    ['an infinite loss', { mean: Number.POSITIVE_INFINITY }],
    ['a negative loss', { mean: -1 }],
    ['a standard error of NaN', { standardError: Number.NaN }],
    ['an infinite standard error, which would excuse everything', { standardError: Number.POSITIVE_INFINITY }],
    ['a standard error whose square overflows', { standardError: 1e200 }],
    ['no tokens', { tokens: 0 }],
    ['negative tokens', { tokens: -5 }],
    ['half a token', { tokens: 0.5 }],
    ['tokens of NaN', { tokens: Number.NaN }],
  ])('refuses %s on either side', (_, wrong) => {
    const sound = measured('sw', 3, 2)
    for (const side of ['base', 'candidate'] as const) {
      const broken = { ...sound, [side]: { ...sound[side], ...wrong } }
      expect(decideRelease([sound, broken]).release).toBe(false)
    }
  })

  it('decides the same, to the bit, in any order of arrival', () => {
    const shuffled = measurements.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
    )
    fc.assert(fc.property(shuffled, ([all, other]) => void expect(decideRelease(other)).toEqual(decideRelease(all))))
  })

  it('releases exactly when every language by itself would be released', () => {
    fc.assert(
      fc.property(measurements, (all) => {
        const languages = [...new Set(all.map(({ language }) => language))]
        const alone = languages.map((tag) => decideRelease(all.filter(({ language }) => language === tag)).release)
        expect(decideRelease(all).release).toBe(alone.every(Boolean))
      }),
    )
  })

  it('always releases a candidate that equals its base', () => {
    fc.assert(
      fc.property(measurements, (all) => {
        const same = all.map((one) => ({ ...one, candidate: one.base }))
        expect(decideRelease(same).release).toBe(true)
      }),
    )
  })
})

describe('poolScores', () => {
  it('weights by tokens and combines independent errors', () => {
    const [pooled] = poolScores([
      { language: 'sw', measuredBy: 'b', base: s(1, 0.3, 100), candidate: s(2, 0.1, 100) },
      { language: 'sw', measuredBy: 'a', base: s(4, 0.4, 300), candidate: s(2, 0.1, 300) },
    ])
    expect(pooled?.measuredBy).toEqual(['a', 'b'])
    expect(pooled?.base.tokens).toBe(400)
    expect(pooled?.base.mean).toBeCloseTo(3.25, 12)
    expect(pooled?.base.standardError).toBeCloseTo(Math.hypot(0.25 * 0.3, 0.75 * 0.4), 12)
  })

  it('stays between the least and the greatest mean, and never widens the error', () => {
    fc.assert(
      fc.property(measurements, (all) => {
        for (const { language, base, measuredBy } of poolScores(all)) {
          const group = all.filter((one) => one.language === language)
          const means = group.map((one) => one.base.mean)
          expect(base.mean).toBeGreaterThanOrEqual(Math.min(...means) - 1e-9)
          expect(base.mean).toBeLessThanOrEqual(Math.max(...means) + 1e-9)
          const errors = group.map((one) => one.base.standardError)
          expect(base.standardError).toBeLessThanOrEqual(Math.max(...errors) + 1e-9)
          expect(measuredBy).toEqual([...new Set(group.map((one) => one.measuredBy))].sort())
        }
      }),
    )
  })
})

function s(mean: number, standardError: number, tokens: number): Score {
  return { mean, standardError, tokens }
}

function measured(language: string, base: number, candidate: number): Measurement {
  return { language, measuredBy: 'node-a', base: s(base, 0.03, 1000), candidate: s(candidate, 0.04, 1000) }
}
