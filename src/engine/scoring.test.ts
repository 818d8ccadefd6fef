import { describe, expect, test } from 'vitest'
import { randomFrom } from '../plan/random.ts'
import { summarise } from './scoring.ts'

describe('summarise', () => {
  test('weights sequences by their tokens', () => {
    expect(
      summarise([
        { loss: 6, count: 2 },
        { loss: 4, count: 8 },
      ]),
    ).toMatchObject({ mean: 1, tokens: 10 })
  })

  test('is the error of the mean when sequences are equally long', () => {
    const losses = [3, 5, 4, 8]
    const deviation = Math.sqrt(losses.reduce((sum, loss) => sum + (loss - 5) ** 2, 0) / 3)
    const { standardError } = summarise(losses.map((loss) => ({ loss: 10 * loss, count: 10 })))
    expect(standardError).toBeCloseTo(deviation / 2, 12)
  })

  test('covers the true mean as often as it claims', () => {
    const random = randomFrom('coverage')
    let covered = 0
    for (let trial = 0; trial < 1000; trial++) {
      const sequences = Array.from({ length: 40 }, () => {
        const count = 20 + random.below(100)
        return { count, loss: count * (2 + 0.3 * random.normal()) }
      })
      const { mean, standardError } = summarise(sequences)
      if (Math.abs(mean - 2) < 1.96 * standardError) covered++
    }
    expect(Math.abs(covered - 950)).toBeLessThan(40)
  })

  test('leaves out rows of padding, and concludes nothing from one sequence', () => {
    const one = { loss: 30, count: 10 }
    expect(summarise([one, { loss: 0, count: 0 }])).toEqual({ mean: 3, standardError: 3, tokens: 10 })
  })

  test('refuses to score nothing', () => {
    expect(() => summarise([{ loss: 0, count: 0 }])).toThrow(expect.objectContaining({ code: 'DATA_INVALID' }))
  })
})
