import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { randomFrom, shuffled } from '../plan/random.ts'
import { type Assignment, assignReviewers, type Contributor, REVIEWERS } from './reviewers.ts'

const by = (seed: string) => {
  const random = randomFrom(seed)
  return <T>(items: readonly T[]) => shuffled(items, random)
}

const contributors: fc.Arbitrary<Contributor[]> = fc
  .array(
    fc.record({
      member: fc.integer({ min: 0, max: 5 }).map((n) => `member-${n}`),
      languages: fc.uniqueArray(fc.constantFrom('sw', 'SW', 'fr', 'vi', 'en'), { maxLength: 3 }),
    }),
    { maxLength: 14 },
  )
  .map((rows) => rows.map((row, i) => ({ id: `c${i}`, node: `n${i}`, ...row })))

const speaks = ({ languages }: Contributor, language: string) =>
  languages.some((tag) => tag.toLowerCase() === language.toLowerCase())

describe('assignReviewers', () => {
  it('asks members other than its own who share a language, one node of each, as many as there are up to three', () => {
    fc.assert(
      fc.property(contributors, fc.string(), (rows, seed) => {
        const assigned = assignReviewers(rows, by(seed))
        for (const own of rows) {
          const reviewers = reviewersOf(own, rows, assigned)
          for (const one of reviewers) {
            expect(one.member).not.toBe(own.member)
            expect(own.languages.some((language) => speaks(one, language))).toBe(true)
          }
          for (const language of own.languages) {
            const others = rows.filter((one) => one.member !== own.member && speaks(one, language))
            const voices = new Set(others.map(({ member }) => member)).size
            const asked = new Set(reviewers.filter((one) => speaks(one, language)).map(({ member }) => member))
            expect(asked.size).toBeGreaterThanOrEqual(Math.min(REVIEWERS, voices))
          }
        }
      }),
    )
  })

  it('does not depend on the order of arrival, and does on the draw', () => {
    const rows = Array.from({ length: 20 }, (_, i) => {
      return { id: `c${i}`, node: `n${i}`, member: `m${i}`, languages: ['sw'] }
    })
    expect(assignReviewers(rows.toReversed(), by('one'))).toEqual(assignReviewers(rows, by('one')))
    expect(assignReviewers(rows, by('other'))).not.toEqual(assignReviewers(rows, by('one')))
  })

  it('gives everybody the same work where all share a language', () => {
    const rows = Array.from({ length: 50 }, (_, i) => {
      return { id: `c${i}`, node: `n${i}`, member: `m${i}`, languages: ['sw', 'fr'] }
    })
    const work = new Map<string, number>()
    for (const { reviewer } of assignReviewers(rows, by('x'))) work.set(reviewer, (work.get(reviewer) ?? 0) + 1)
    expect([...new Set(work.values())]).toEqual([REVIEWERS])
  })
})

function reviewersOf(own: Contributor, rows: readonly Contributor[], assigned: readonly Assignment[]): Contributor[] {
  const names = assigned.filter(({ contribution }) => contribution === own.id).map(({ reviewer }) => reviewer)
  return rows.filter(({ node }) => names.includes(node))
}
