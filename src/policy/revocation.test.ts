import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Digest, digestOf } from '../core/digest.ts'
import { type BlobHolder, unheldBlobs } from './blob-holder.ts'
import { type Link, type Part, planRevocation, type RevocationMode } from './revocation.ts'

const id = (round: number, n: number) => digestOf(`contribution ${round} ${n}`)
const checkpoint = (round: number) => digestOf(`checkpoint ${round}`)

function part(round: number, n: number, change: Partial<Part> = {}): Part {
  return { id: id(round, n), weight: 0.5, norm: 1, bytes: 10, tokens: 100, ...change }
}

function link(round: number, parts: readonly Part[]): Link {
  const steps = [{ round, turn: round, parts }]
  return { checkpoint: checkpoint(round), base: checkpoint(round - 1), round, steps }
}

/** Rounds 1 to `count`, each with two contributions of the same weight. */
function line(count: number): Link[] {
  return Array.from({ length: count }, (_, at) => link(at + 1, [part(at + 1, 1), part(at + 1, 2)]))
}

function plan(links: readonly Link[], revoked: readonly Digest[], mode: RevocationMode, needed = 1) {
  const head = links.at(-1)?.checkpoint ?? checkpoint(0)
  const history = { head, roundsStarted: links.length, line: links, live: null }
  return planRevocation(history, new Set(revoked), { mode, needed })
}

describe('planRevocation', () => {
  it('takes back the first touched round and all that follow', () => {
    const planned = plan(line(4), [id(3, 1)], 'rewind')
    expect(planned).toMatchObject({ base: checkpoint(2), rounds: [3, 4], repeated: 2, steps: [], endsLive: true })
    expect(planned.superseded).toEqual([checkpoint(3), checkpoint(4)])
  })

  it('merges again what remains, of rounds that have enough left', () => {
    const planned = plan(line(3), [id(2, 1)], 'remerge')
    expect(planned).toMatchObject({ base: checkpoint(1), repeated: 0, remergedBytes: 30 })
    expect(planned.steps).toEqual([
      { round: 2, contributions: [id(2, 2)] },
      { round: 3, contributions: [id(3, 1), id(3, 2)] },
    ])
    expect(plan(line(3), [id(2, 1)], 'remerge', 2).steps.map(({ round }) => round)).toEqual([3])
  })

  it('touches nothing for a contribution without weight', () => {
    const links = [link(1, [part(1, 1, { weight: 1 }), part(1, 2, { weight: 0 })])]
    const planned = plan(links, [id(1, 2)], 'remerge')
    expect(planned).toMatchObject({ base: checkpoint(1), rounds: [], superseded: [], repeated: 0, endsLive: false })
  })

  it('ends a live round that holds one, and gives its turn back', () => {
    const live = { round: 4, turn: 3, contributions: [id(4, 1)] }
    const history = { head: checkpoint(2), roundsStarted: 3, line: line(2), live }
    for (const mode of ['rewind', 'remerge'] as const) {
      const planned = planRevocation(history, new Set([id(4, 1)]), { mode, needed: 1 })
      expect(planned).toMatchObject({ base: checkpoint(2), rounds: [4], superseded: [], repeated: 1, endsLive: true })
    }
  })

  it('estimates the share of later training that began from what was moved', () => {
    const first = link(1, [part(1, 1, { norm: 3 }), part(1, 2)])
    // Three quarters of what had moved the base of round 2, half of what had moved that of round 3.
    const planned = plan([first, ...line(3).slice(1)], [id(1, 1)], 'remerge')
    const expected = (0 * 100 + (1.5 / 2) * 200 + (1.5 / 3) * 200) / 500
    expect(planned.indirectInfluence).toBeCloseTo(expected, 12)
  })

  it('never merges what is revoked, goes back before all of it, and loses nothing else', () => {
    const cases = fc.record({
      rounds: fc.integer({ min: 1, max: 6 }),
      revoked: fc.array(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 2 })), { minLength: 1 }),
    })
    fc.assert(
      fc.property(cases, ({ rounds, revoked }) => {
        const links = line(rounds)
        const gone = new Set(revoked.map(([round, n]) => id(round, n)))
        const planned = plan(links, [...gone], 'remerge')
        const again = planned.steps.flatMap(({ contributions }) => contributions)
        expect(again.filter((one) => gone.has(one))).toEqual([])
        const clean = links.findIndex(({ checkpoint: of }) => of === planned.base)
        const before = links.slice(0, clean + 1).flatMap((each) => each.steps[0]?.parts.map((one) => one.id) ?? [])
        expect(before.filter((one) => gone.has(one))).toEqual([])
        const all = links.flatMap((each) => each.steps[0]?.parts.map((one) => one.id) ?? [])
        expect([...before, ...again]).toEqual(all.filter((one) => !gone.has(one)))
        expect(planned.indirectInfluence).toBeGreaterThanOrEqual(0)
        expect(planned.indirectInfluence).toBeLessThanOrEqual(1)
      }),
    )
  })
})

describe('unheldBlobs', () => {
  const digest = fc.integer({ min: 0, max: 5 }).map((n) => digestOf(`blob ${n}`))
  const holder: fc.Arbitrary<BlobHolder> = fc.record({
    digest,
    kind: fc.constantFrom('contribution', 'checkpoint', 'round', 'upload'),
    holder: fc.constantFrom('a', 'b', 'c'),
    takenBack: fc.boolean(),
  })

  it('gives candidates only, each once, and never one that anything still holds', () => {
    fc.assert(
      fc.property(fc.array(digest), fc.array(holder), fc.subarray(['a', 'b', 'c']), (candidates, holders, also) => {
        const unheld = unheldBlobs(candidates, holders, new Set(also))
        expect(new Set(unheld).size).toBe(unheld.length)
        for (const blob of new Set(candidates)) {
          const held = holders.some((one) => one.digest === blob && !one.takenBack && !also.includes(one.holder))
          expect(unheld.includes(blob)).toBe(!held)
        }
        expect(unheld.every((blob) => candidates.includes(blob))).toBe(true)
      }),
    )
  })
})
