import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Diagnostics } from './diagnostics.ts'
import { languageEffects } from './language-effects.ts'

type Vector = readonly number[]
const dot = (a: Vector, b: Vector) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)
const norm = (a: Vector) => Math.sqrt(dot(a, a))

/** What a merge with these factors would say about these deltas, as far as effects are concerned. */
function diagnosticsOf(deltas: readonly Vector[], factors: readonly (number | null)[]): Diagnostics {
  const cosines = deltas.map((a) => deltas.map((b) => dot(a, b) / (norm(a) * norm(b))))
  const rest = { cosine: 0, retained: 0, normScore: 0, agreement: null, agreementScore: 0, outlier: false }
  const contributions = deltas.map((delta, i) => ({
    ...{ node: `node-${i}`, norm: norm(delta), coefficient: factors[i] ?? null },
    ...rest,
  }))
  return { deltaNorm: 1, elements: 3, comparedElements: 3, contributions, cosines }
}

it('gives a language to who moved the model along it, by hand-made numbers', () => {
  // Two at right angles: each language is its own direction, and nobody else has a part in it.
  const apart = diagnosticsOf(
    [
      [2, 0],
      [0, 5],
    ],
    [0.5, 0.5],
  )
  const trained = new Map([
    ['node-0', { sw: 1 }],
    ['node-1', { fr: 1 }],
  ])
  const changes = new Map([
    ['sw', -0.4],
    ['fr', 0.2],
  ])
  const effects = languageEffects(apart, trained, changes)
  expect(effects.get('node-0')).toEqual(
    new Map([
      ['sw', -0.4],
      ['fr', 0],
    ]),
  )
  expect(effects.get('node-1')).toEqual(
    new Map([
      ['sw', -0],
      ['fr', 0.2],
    ]),
  )
  // Along [1, 0]: 0.5 * 3 and 0.5 * 1 of the same way: three quarters and one quarter.
  const together = diagnosticsOf(
    [
      [3, 0],
      [1, 0],
    ],
    [0.5, 0.5],
  )
  const shared = languageEffects(together, trained, new Map([['sw', -0.4]]))
  expect(shared.get('node-0')?.get('sw')).toBeCloseTo(-0.3, 12)
  expect(shared.get('node-1')?.get('sw')).toBeCloseTo(-0.1, 12)
  // One that points against a language has harmed it.
  const against = languageEffects(
    diagnosticsOf(
      [
        [4, 0],
        [-1, 0],
      ],
      [0.5, 0.5],
    ),
    trained,
    new Map([['sw', -0.3]]),
  )
  expect(against.get('node-0')?.get('sw')).toBeCloseTo(-0.4, 12)
  expect(against.get('node-1')?.get('sw')).toBeCloseTo(0.1, 12)
})

const vector = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 3, maxLength: 3 })
const cases = fc
  .array(
    fc.record({
      delta: vector,
      factor: fc.double({ min: 0, max: 1, noNaN: true }),
      sw: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .filter((all) => all.every(({ delta }) => norm(delta) > 1e-3))

it('adds up to the measured change or says nothing, and never a number that is none', () => {
  fc.assert(
    fc.property(cases, fc.double({ min: -3, max: 3, noNaN: true }), (all, change) => {
      const diagnostics = diagnosticsOf(
        all.map(({ delta }) => delta),
        all.map(({ factor }) => factor),
      )
      const trained = new Map(all.map(({ sw }, i) => [`node-${i}`, { sw, fr: 1 - sw }]))
      const effects = [...languageEffects(diagnostics, trained, new Map([['sw', change]])).values()]
      const told = effects.flatMap((of) => of.get('sw') ?? [])
      expect([0, all.length]).toContain(told.length)
      expect(told.every(Number.isFinite)).toBe(true)
      const sum = told.reduce((total, effect) => total + effect, 0)
      if (told.length > 0) expect(Math.abs(sum - change)).toBeLessThan(1e-9)
      // No share is more than ten times the whole, whatever cancels.
      for (const effect of told) expect(Math.abs(effect)).toBeLessThanOrEqual(Math.abs(change) * 10 + 1e-9)
    }),
  )
})

it('says nothing of a merge without factors or without cosines, nor of a language that nobody trained on', () => {
  const trained = new Map([['node-0', { sw: 1 }]])
  const changes = new Map([['sw', -1]])
  const nothing = new Map([['node-0', new Map()]])
  expect(languageEffects(diagnosticsOf([[1, 0]], [null]), trained, changes)).toEqual(nothing)
  expect(languageEffects({ ...diagnosticsOf([[1, 0]], [1]), cosines: null }, trained, changes)).toEqual(nothing)
  expect(languageEffects(diagnosticsOf([[1, 0]], [1]), trained, new Map([['xx', -1]]))).toEqual(nothing)
})
