import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { randomFrom, shuffled } from './random.ts'

const draws = <T>(count: number, draw: () => T) => Array.from({ length: count }, draw)

describe('randomFrom', () => {
  test('gives the pinned stream', () => {
    expect(draws(4, randomFrom('tapestry').uint32)).toMatchInlineSnapshot(`
      [
        325597646,
        1600566425,
        562291823,
        2181007921,
      ]
    `)
  })

  test('gives other streams for other seeds', () => {
    expect(draws(4, randomFrom('a').uint32)).not.toEqual(draws(4, randomFrom('b').uint32))
  })

  test('is uniform over small ranges', () => {
    const random = randomFrom('uniform')
    const counts = [0, 0, 0, 0, 0]
    for (let draw = 0; draw < 50_000; draw++) counts[random.below(5)]!++
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500)
  })

  test('draws normal numbers of mean 0, variance 1 and kurtosis near 3', () => {
    const values = draws(50_000, randomFrom('normal').normal)
    const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length
    expect(Math.abs(moment(1))).toBeLessThan(0.02)
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.03)
    expect(Math.abs(moment(4) - 2.9)).toBeLessThan(0.15)
  })
})

describe('shuffled', () => {
  test('keeps every item and does not touch its argument', () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), fc.string(), (items, seed) => {
        const before = items.slice()
        const order = shuffled(items, randomFrom(seed))
        expect(items).toEqual(before)
        expect(order.toSorted()).toEqual(items.toSorted())
      }),
      { seed: 2 },
    )
  })

  test('reaches every order', () => {
    const random = randomFrom('orders')
    expect(new Set(draws(500, () => shuffled([1, 2, 3], random).join())).size).toBe(6)
  })
})
