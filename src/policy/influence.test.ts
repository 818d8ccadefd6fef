import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CAP_KINDS,
  type Caps,
  DEFAULT_INFLUENCE,
  parseWeightingText,
  type Weighting,
} from '../core/influence-choice.ts'
import { byNode, decideWeights, INFLUENCE_POLICY, type InfluenceRules, type Influencer } from './influence.ts'

const TAGS = ['sw', 'de', 'quz']
const influencer: fc.Arbitrary<Influencer> = fc.record({
  id: fc.string({ minLength: 1 }),
  node: fc.string({ minLength: 1, maxLength: 6 }),
  member: fc.constantFrom('a', 'b', 'c', 'd'),
  jurisdiction: fc.constantFrom('EU', 'KE', null),
  norm: fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }),
  languages: fc.uniqueArray(fc.record({ language: fc.constantFrom(...TAGS), tokens: fc.nat(100_000) }), {
    minLength: 1,
    selector: ({ language }) => language,
  }),
  quality: fc.oneof(fc.constant(null), fc.double({ min: -1, max: 3, noNaN: true })),
  below: fc.constant(null),
})
const influencers = fc.uniqueArray(influencer, { minLength: 1, maxLength: 20, selector: (one) => one.node })
const cap = fc.oneof(fc.constant(1), fc.double({ min: 0.05, max: 1, noNaN: true }))
const caps: fc.Arbitrary<Caps> = fc.record({ node: cap, member: cap, jurisdiction: cap, language: cap })
const weighting = fc
  .constantFrom('uniform', 'tokens', 'quality', 'tempered:alpha=0.3', 'unimax:epochs=2')
  .map(parseWeightingText)

const NO_CAPS: Caps = { node: 1, member: 1, jurisdiction: 1, language: 1 }

function rules(change: Partial<InfluenceRules> = {}): InfluenceRules {
  return { ...DEFAULT_INFLUENCE, floor: 'public', mostTokens: 10_000, counts: true, ...change }
}

function valuesOf(all: readonly Influencer[], change: Partial<InfluenceRules>) {
  return decideWeights(all, rules(change)).map(({ value }) => value)
}

describe('decideWeights', () => {
  it('gives weights that are not negative and add up to 1, and keeps every cap that it says it keeps', () => {
    fc.assert(
      fc.property(influencers, caps, weighting, (all, limits, rule: Weighting) => {
        const decisions = decideWeights(all, rules({ caps: limits, weighting: rule }))
        expect(decisions.map(({ id }) => id)).toEqual(byNode(all).map(({ id }) => id))
        expect(Math.abs(decisions.reduce((sum, { value }) => sum + value, 0) - 1)).toBeLessThan(1e-9)
        for (const { value } of decisions) expect(value).toBeGreaterThanOrEqual(0)
        for (const kind of CAP_KINDS) {
          const limit =
            decisions.flatMap(({ decision }) => decision.caps).find((one) => one.kind === kind)?.limit ?? limits[kind]
          const totals = new Map<string, number>()
          byNode(all).forEach((one, i) => {
            const { value, decision } = decisions[i]!
            const parts: Record<string, number> =
              kind === 'language'
                ? decision.languages
                : { [`${kind === 'jurisdiction' ? (one.jurisdiction ?? 'unknown') : one[kind]}`]: 1 }
            for (const [group, part] of Object.entries(parts))
              totals.set(group, (totals.get(group) ?? 0) + part * value)
          })
          for (const total of totals.values()) expect(total).toBeLessThanOrEqual(limit + 1e-9)
        }
      }),
      { numRuns: 1000 },
    )
  })

  it('gives weights that add up to 1 where wishes are next to nothing and caps leave one point', () => {
    const of = (node: string, member: string, jurisdiction: string | null, tokens: Record<string, number>) => {
      const languages = Object.entries(tokens).map(([language, count]) => ({ language, tokens: count }))
      return { id: node, node, member, jurisdiction, norm: 1, languages, below: null }
    }
    const all = [
      { ...of('1', 'b', 'KE', { fr: 48676, sw: 3 }), quality: null },
      { ...of('2', 'a', 'EU', { vi: 29446, fr: 46947, yo: 69049, sw: 14273, quz: 56411 }), quality: 1e-260 },
      { ...of('3', 'b', null, { sw: 50167 }), quality: 3e-43 },
      { ...of('4', 'c', null, { sw: 5, fr: 9, yo: 5, vi: 93392, quz: 40736 }), quality: 3e-87 },
    ]
    const limits: Caps = { node: 0.872, member: 1, jurisdiction: 0.0691, language: 0.3279 }
    for (const rule of ['quality', 'tokens', 'uniform']) {
      const values = valuesOf(all, { caps: limits, weighting: parseWeightingText(rule) })
      expect(Math.abs(values.reduce((sum, value) => sum + value, 0) - 1)).toBeLessThan(1e-9)
      expect(values.every((value) => value >= 0)).toBe(true)
    }
  })

  it('decides the same in any order of arrival', () => {
    const shuffled = influencers.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }), caps, weighting),
    )
    fc.assert(
      fc.property(shuffled, ([all, other, limits, rule]) => {
        const change = { caps: limits, weighting: rule }
        expect(decideWeights(other, rules(change))).toEqual(decideWeights(all, rules(change)))
      }),
    )
  })

  it('gives everybody the same share by default, to the bit', () => {
    const all = ['a', 'b', 'c'].map((node, n) => one({ node, member: node, tokens: 10 ** n }))
    expect(valuesOf(all, {})).toEqual([1 / 3, 1 / 3, 1 / 3])
  })

  it('lets many nodes of one member share its cap: fifty sybils weigh what one would', () => {
    const sybils = Array.from({ length: 50 }, (_, n) => one({ node: `s${n}`, member: 'sybil' }))
    const others = ['a', 'b', 'c'].map((member) => one({ node: member, member }))
    const decisions = decideWeights([...sybils, ...others], rules({ caps: { ...NO_CAPS, member: 0.25 } }))
    const [honest, sybil] = [
      decisions.filter(({ id }) => !id.startsWith('s')),
      decisions.filter(({ id }) => id.startsWith('s')),
    ]
    for (const { value } of honest) expect(value).toBeCloseTo(0.25, 9)
    for (const { value, reason, decision } of sybil) {
      expect(value).toBeCloseTo(0.25 / 50, 9)
      expect(decision.caps).toEqual([{ kind: 'member', group: 'sybil', asked: 0.25, limit: 0.25 }])
      expect(reason).toContain('member sybil')
    }
  })

  it('raises a cap below 1/n to 1/n, and says so', () => {
    const all = ['a', 'b', 'c'].map((node) => one({ node, member: node }))
    const decisions = decideWeights(all, rules({ caps: { ...NO_CAPS, member: 0.2 } }))
    for (const { value, reason } of decisions) {
      expect(value).toBeCloseTo(1 / 3, 12)
      expect(reason).toContain('cannot hold')
    }
  })

  it('gives 0 to what is below the floor, and shares the rest', () => {
    const all = [
      one({ node: 'a' }),
      one({ node: 'b', member: 'n' }),
      one({ node: 'c', below: 'its norm is 12 times the median' }),
    ]
    const decisions = decideWeights(all, rules())
    expect(decisions.map(({ value }) => value)).toEqual([0.5, 0.5, 0])
    expect(decisions[2]?.reason).toContain('12 times the median')
  })

  it('counts claimed tokens up to what the plan can read', () => {
    const all = [one({ node: 'a', tokens: 1e15 }), one({ node: 'b', member: 'n', tokens: 10_000 })]
    const tokens = { weighting: parseWeightingText('tokens'), caps: NO_CAPS }
    expect(valuesOf(all, tokens)).toEqual([0.5, 0.5])
    expect(decideWeights(all, rules(tokens))[0]?.decision).toMatchObject({ claimed: 1e15, tokens: 10_000 })
  })

  it('names the rules, and says when the strategy ignores them', () => {
    const [decision] = decideWeights([one({ node: 'a' })], rules({ counts: false }))
    expect(decision?.reason).toMatch(INFLUENCE_POLICY)
    expect(decision?.reason).toContain('ignores weights')
  })

  it.each([
    ['nothing', []],
    ['one node twice', [one({ node: 'a' }), one({ node: 'b' }), one({ node: 'a', norm: 2 })]],
    ['a norm that is not a number', [one({ node: 'a', norm: Number.NaN })]],
    ['an infinite norm', [one({ node: 'a', norm: Number.POSITIVE_INFINITY })]],
    ['a negative norm', [one({ node: 'a', norm: -1 })]],
    ['tokens that are not a number', [one({ node: 'a', tokens: Number.NaN })]],
    ['negative tokens', [one({ node: 'a', tokens: -1 })]],
    ['a score of NaN', [one({ node: 'a', quality: Number.NaN })]],
    ['nothing above the floor', [one({ node: 'a', below: 'it changes nothing' })]],
  ])('refuses %s', (_, list) => {
    expect(() => decideWeights(list, rules())).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

function one(change: Partial<Influencer> & { readonly node: string; readonly tokens?: number }): Influencer {
  const { tokens = 1000, ...rest } = change
  const usual = { id: rest.node, member: 'm', jurisdiction: null, norm: 1, quality: null, below: null }
  return { ...usual, languages: [{ language: 'sw', tokens }], ...rest }
}
