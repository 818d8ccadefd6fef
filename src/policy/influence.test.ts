import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { byNode, decideWeights, INFLUENCE_POLICY } from './influence.ts'

const contribution = fc.record({
  id: fc.string({ minLength: 1 }),
  node: fc.string({ minLength: 1 }),
  member: fc.string({ minLength: 1 }),
  norm: fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }),
})
const contributions = fc.uniqueArray(contribution, { minLength: 1, maxLength: 40, selector: (one) => one.node })

describe('decideWeights', () => {
  it('gives everybody the same share whatever they hold, and says by which rule', () => {
    fc.assert(
      fc.property(contributions, (all) => {
        const weights = decideWeights(all)
        expect(weights.map(({ id }) => id)).toEqual(byNode(all).map(({ id }) => id))
        for (const { value, reason } of weights) {
          expect(value).toBe(1 / all.length)
          expect(reason).toContain(INFLUENCE_POLICY)
        }
        expect(Math.abs(weights.reduce((sum, { value }) => sum + value, 0) - 1)).toBeLessThan(1e-9)
      }),
    )
  })

  it('decides the same in any order of arrival', () => {
    const shuffled = contributions.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
    )
    fc.assert(fc.property(shuffled, ([all, other]) => void expect(decideWeights(other)).toEqual(decideWeights(all))))
  })

  it.each([
    ['nothing', []],
    ['one node twice', [one('a', 1), one('b', 1), one('a', 2)]],
    ['a norm that is not a number', [one('a', Number.NaN)]],
    ['an infinite norm', [one('a', Number.POSITIVE_INFINITY)]],
    ['a negative norm', [one('a', -1)]],
  ])('refuses %s', (_, list) => {
    expect(() => decideWeights(list)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

function one(node: string, norm: number) {
  return { id: `${node}-${norm}`, node, member: 'm', norm }
}
