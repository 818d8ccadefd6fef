import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pairedEvidence } from '../model/paired-evidence.ts'
import { randomFrom } from '../plan/random.ts'
import { NOISE_BAND, type Score } from './evidence.ts'
import { decideRelease, type GateRules, gateRecordSchema, type Measurement, poolScores } from './release.ts'

const RULES: GateRules = { minTokens: 100, mostTokens: 10_000, trained: [], draws: randomFrom }

const score = fc.record({
  mean: fc.double({ min: 0, max: 20, noNaN: true }),
  standardError: fc.double({ min: 0, max: 2, noNaN: true }),
  tokens: fc.integer({ min: 100, max: 1e9 }),
})
const paired = fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 8, maxLength: 20 }).map(
  (changes) =>
    pairedEvidence(
      changes.map(() => 2),
      changes.map((change) => 2 + change),
    ) ?? null,
)
const measurement = fc.record({
  language: fc.constantFrom('sw', 'de', 'yo', 'quz'),
  community: fc.constantFrom('', 'Shuar'),
  measuredBy: fc.constantFrom('node-a', 'node-b', 'coordinator'),
  voice: fc.constantFrom('m', 'n'),
  base: score,
  candidate: score,
  paired: fc.oneof(fc.constant(null), paired),
})
const measurements = fc.array(measurement, { minLength: 1, maxLength: 12 })
const FEW = { numRuns: 25 }

describe('decideRelease', () => {
  it('blocks a regression beyond the noise band and lets one inside it pass', () => {
    const band = NOISE_BAND * Math.hypot(0.03, 0.04)
    expect(decide([measured('sw', 2, 2 + band * 1.001)])).toMatchObject({ release: false })
    expect(decide([measured('sw', 2, 2 + band * 0.999)])).toMatchObject({ release: true })
    expect(decide([measured('sw', 2, 1)])).toMatchObject({ release: true })
  })

  it('is not bought off by gains elsewhere: names the language, by how much and how surely', () => {
    const { release, reason, record } = decide([measured('de', 3, 1), measured('yo', 2, 2.5)])
    expect(release).toBe(false)
    expect(reason).toMatch(/^yo got worse by 0\.5000 .* at least 0\.3712 at 99\.5% confidence$/)
    expect(record.languages.map(({ language, verdict }) => [language, verdict])).toEqual([
      ['de', 'better'],
      ['yo', 'worse'],
    ])
    expect(gateRecordSchema.parse(JSON.parse(JSON.stringify(record)))).toEqual(record)
  })

  it('sees with paired evidence what two independent means hide', () => {
    const losses = Array.from({ length: 64 }, (_, i) => 1 + (i % 16) / 4)
    const worse = losses.map((loss, i) => loss + 0.02 + (i % 3) / 100)
    const evidence = pairedEvidence(losses, worse) ?? null
    const wide = measured('sw', 2.875, 2.905, { error: 0.14 })
    expect(decide([wide])).toMatchObject({ release: true })
    const { release, record } = decide([{ ...wide, paired: evidence }])
    expect(release).toBe(false)
    expect(record.languages[0]?.evidence).toMatchObject({ method: 'bootstrap', sequences: 64 })
  })

  it('blocks for one community while its language as a whole gains', () => {
    const main = measured('qu', 3, 2.5, { tokens: 9000 })
    const few = measured('qu', 3, 3.6, { tokens: 300, community: 'Inga' })
    const { release, reason, record } = decide([main, few])
    expect(release).toBe(false)
    expect(reason).toMatch(/^Inga \(qu\)/)
    expect(record.languages[0]?.verdict).toBe('better')
  })

  it('hears the public sets alone where there are any', () => {
    const liar = measured('sw', 2, 9, { by: 'node-x' })
    const official = measured('sw', 2, 1.9, { by: 'coordinator' })
    expect(decide([liar])).toMatchObject({ release: false })
    expect(decide([liar, official])).toMatchObject({ release: true })
    expect(
      decide([measured('sw', 2, 1, { by: 'node-x' }), { ...official, candidate: s(3, 0.01, 1000) }]),
    ).toMatchObject({
      release: false,
    })
  })

  it('lets no single voice of three block or pass a release, however many nodes it has', () => {
    const honest = (change: number) => ['a', 'b'].map((by) => measured('sw', 2, 2 + change, { by }))
    const sybils = (change: number) => [1, 2, 3].map((n) => measured('sw', 2, 2 + change, { by: `x${n}`, voice: 'x' }))
    const spared = decide([...honest(-0.5), ...sybils(5)])
    expect(spared.release).toBe(true)
    expect(spared.record.languages[0]?.leftOut).toContain('x1')
    expect(decide([...honest(0.5), ...sybils(-1.9)]).release).toBe(false)
  })

  it('shows too little text, and none, as unmeasured, never as fine', () => {
    const little = measured('yo', 2, 9, { tokens: 99 })
    const { release, record } = decideRelease([measured('sw', 2, 1), little], { ...RULES, trained: ['sw', 'zu'] })
    expect(release).toBe(true)
    expect(record.languages.map(({ language, verdict }) => [language, verdict])).toEqual([
      ['sw', 'better'],
      ['yo', 'unmeasured'],
      ['zu', 'unmeasured'],
    ])
    expect(decide([little])).toMatchObject({ release: false, reason: expect.stringContaining('too little') })
    expect(decide([])).toMatchObject({ release: false, record: { languages: [] } })
  })

  it('counts claimed tokens only as far as the plan reads', () => {
    const rows = [measured('sw', 2, 1, { by: 'a', tokens: 10_000 }), measured('sw', 2, 4, { by: 'b', tokens: 1e12 })]
    expect(decide(rows).record.languages[0]?.evidence?.difference).toBeCloseTo(0.5, 12)
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
      expect(decide([sound, broken]).release).toBe(false)
    }
  })

  it('decides the same, to the bit, in any order of arrival', () => {
    const shuffled = measurements.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
    )
    fc.assert(
      fc.property(shuffled, ([all, other]) => void expect(decide(other)).toEqual(decide(all))),
      FEW,
    )
  })

  it('releases exactly when every language by itself would be released', () => {
    fc.assert(
      fc.property(measurements, (all) => {
        const languages = [...new Set(all.map(({ language }) => language))]
        const alone = languages.map((tag) => decide(all.filter(({ language }) => language === tag)).release)
        expect(decide(all).release).toBe(alone.every(Boolean))
      }),
      FEW,
    )
  })

  it('always releases a candidate that equals its base', () => {
    fc.assert(
      fc.property(measurements, (all) => {
        const same = all.map((one) => ({
          ...one,
          candidate: one.base,
          paired: one.paired && { unit: 0, steps: one.paired.steps },
        }))
        expect(decide(same).release).toBe(true)
      }),
      FEW,
    )
  })
})

describe('poolScores', () => {
  it('weights by tokens and combines independent errors', () => {
    const [pooled] = poolScores([
      { ...measured('sw', 1, 2, { by: 'b' }), base: s(1, 0.3, 100) },
      { ...measured('sw', 4, 2, { by: 'a' }), base: s(4, 0.4, 300) },
    ])
    expect(pooled?.measuredBy).toEqual(['a', 'b'])
    expect(pooled?.base.tokens).toBe(400)
    expect(pooled?.base.mean).toBeCloseTo(3.25, 12)
    expect(pooled?.base.standardError).toBeCloseTo(Math.hypot(0.25 * 0.3, 0.75 * 0.4), 12)
  })
})

function decide(all: readonly Measurement[]) {
  return decideRelease(all, RULES)
}

function s(mean: number, standardError: number, tokens: number): Score {
  return { mean, standardError, tokens }
}

type Details = { by?: string; voice?: string; tokens?: number; community?: string; error?: number }

function measured(language: string, base: number, candidate: number, details: Details = {}): Measurement {
  const { by = 'node-a', voice = by, tokens = 1000, community = '', error } = details
  return {
    language,
    community,
    measuredBy: by,
    voice,
    base: s(base, error ?? 0.03, tokens),
    candidate: s(candidate, error ?? 0.04, tokens),
    paired: null,
  }
}
