import { describe, expect, it } from 'vitest'
import { randomFrom } from '../plan/random.ts'
import type { Evidence } from './evidence.ts'
import { judgeNorms, judgePublic } from './quality-floor.ts'

describe('judgeNorms', () => {
  it('lets a node alone with its language pass, also slightly against the rest, and stops the one that points back', () => {
    const verdicts = judgeNorms(judged([1, 1.1, 0.9, 1.2, 1]), cosines([0.5, 0.52, 0.48, -0.1, -0.5]))
    expect(verdicts.slice(0, 4)).toEqual([null, null, null, null])
    expect(verdicts[4]).toContain('points against')
  })

  it('stops nobody for directions that differ by chance', () => {
    const chance = cosines([0.001, 0.0012, 0.0009, 0.0011, -0.017])
    expect(judgeNorms(judged([1, 1, 1, 1, 1]), chance)).toEqual([null, null, null, null, null])
  })

  it('stops what is far longer, not what is a little longer', () => {
    const flat = cosines([0.3, 0.3, 0.3, 0.3])
    expect(judgeNorms(judged([1, 1.01, 0.99, 1.9]), flat)).toEqual([null, null, null, null])
    expect(judgeNorms(judged([1, 1.01, 0.99, 10]), flat)[3]).toBe('its norm is 10.0 times the median')
  })

  it('stops a copy, never its original, whoever is named first', () => {
    const same = [
      [1, 0.99999, 0.2],
      [0.99999, 1, 0.2],
      [0.2, 0.2, 1],
    ]
    const [late, early, other] = judged([1, 1.1, 1])
    const rows = [{ ...late!, acceptedAt: 9 }, early!, other!]
    expect(judgeNorms(rows, same)).toEqual([expect.stringContaining('n1'), null, null])
  })

  it('knows no usual norm among two, and judges norms alone when nothing was compared', () => {
    expect(judgeNorms(judged([1, 1000]), cosines([0.1, 0.1]))).toEqual([null, null])
    expect(judgeNorms(judged([1, 1, 1.01, 1000, 0]), null).map((below) => below === null)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ])
  })
})

describe('judgePublic', () => {
  const text = (change: number): Evidence => ({
    base: { mean: 3, standardError: 0.01, tokens: 1000 },
    candidate: { mean: 3 + change, standardError: 0.01, tokens: 1000 },
    paired: null,
  })

  it('stops what makes its languages worse beyond noise, and measures the gain of the rest', () => {
    expect(judgePublic([text(-0.5)], randomFrom('x'))).toEqual({ quality: 0.5, below: null })
    expect(judgePublic([text(0.01)], randomFrom('x')).below).toBeNull()
    expect(judgePublic([text(0.2), text(0.1)], randomFrom('x'))).toMatchObject({
      below: expect.stringContaining('0.1500'),
    })
  })

  it('says nothing about languages without a set', () => {
    expect(judgePublic([], randomFrom('x'))).toEqual({ quality: null, below: null })
  })
})

function judged(norms: readonly number[]) {
  return norms.map((norm, i) => ({ node: `n${i}`, norm, acceptedAt: i }))
}

/** A matrix in which the mean cosine of each with the others is as given. */
function cosines(means: readonly number[]): number[][] {
  return means.map((mean, i) => means.map((_, j) => (i === j ? 1 : mean)))
}
