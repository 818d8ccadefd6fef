import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCodecText } from '../core/codec.ts'
import { digestOf } from '../core/digest.ts'
import { parseRound, parseRunPolicy } from './codec.ts'
import { DEFAULT_RUN_POLICY } from './policy.ts'
import type { Round } from './round.ts'

const invalid = expect.objectContaining({ code: 'DATA_INVALID' })
const always = { base: digestOf('b'), plan: digestOf('p'), policy: DEFAULT_RUN_POLICY }
const counted = { ...always, roster: 6, accepted: 4, refused: 1, declined: 1 }
const candidate = { ...counted, candidate: digestOf('c'), evaluated: 2 }

const ROUNDS: Round[] = [
  { phase: 'open', ...always, joined: 3, deadline: 10 },
  { phase: 'collecting', ...counted, deadline: 10 },
  { phase: 'reviewing', ...counted, reviews: 12, reviewed: 3, deadline: 10 },
  { phase: 'sealed', ...counted },
  { phase: 'aggregating', ...counted },
  { phase: 'evaluating', ...candidate, optimizerState: digestOf('o'), excused: 1, deciding: true, deadline: 10 },
  { phase: 'published', ...candidate, checkpoint: digestOf('k') },
  {
    ...candidate,
    phase: 'rejected',
    optimizerState: digestOf('o'),
    reason: 'sw got worse',
    overridden: true,
  },
  { phase: 'failed', ...counted, reason: 'no quorum' },
]

/** Rounds of older builds have none of these. */
const LATER_FIELDS = new Set(['optimizerState', 'overridden', 'declined', 'excused'])

describe('parseRound', () => {
  it.each(ROUNDS)('reads back $phase', (round) => {
    expect(parseRound(JSON.parse(JSON.stringify(round)))).toEqual(round)
  })

  it.each(ROUNDS)('refuses $phase with a field too many or too few', (round) => {
    expect(() => parseRound({ ...round, surprise: 1 })).toThrow(invalid)
    for (const field of Object.keys(round).filter((name) => !LATER_FIELDS.has(name))) {
      const rest = Object.fromEntries(Object.entries(round).filter(([key]) => key !== field))
      expect(() => parseRound(rest)).toThrow(invalid)
    }
  })

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['text', 'open'],
    ['an unknown phase', { ...ROUNDS[0], phase: 'paused' }],
    ['a bad digest', { ...ROUNDS[0], base: 'sha256:xyz' }],
    ['a negative count', { ...ROUNDS[0], joined: -1 }],
    ['half a node', { ...ROUNDS[0], joined: 0.5 }],
    ['a count of NaN', { ...ROUNDS[0], joined: Number.NaN }],
    ['more submissions than members', { ...ROUNDS[1], accepted: 5 }],
    ['a policy out of range', { ...ROUNDS[0], policy: { ...DEFAULT_RUN_POLICY, quorum: 0 } }],
  ])('refuses %s', (_, json) => {
    expect(() => parseRound(json)).toThrow(invalid)
  })

  it('throws its own code for anything at all', () => {
    fc.assert(fc.property(fc.anything(), (json) => void expect(() => parseRound(json)).toThrow(invalid)))
  })
})

describe('parseRunPolicy', () => {
  it('reads runs that are older than strategies and codecs', () => {
    const { strategy: _, codec: __, ...older } = DEFAULT_RUN_POLICY
    expect(parseRunPolicy(older)).toEqual(DEFAULT_RUN_POLICY)
    expect(parseRunPolicy({ ...older, codec: parseCodecText('int8') }).codec.name).toBe('int8')
    expect(() => parseRunPolicy({ ...older, codec: { name: 'int8', parameters: { block: 100 } } })).toThrow(invalid)
  })

  it('reads back a policy and refuses another shape', () => {
    expect(parseRunPolicy(JSON.parse(JSON.stringify(DEFAULT_RUN_POLICY)))).toEqual(DEFAULT_RUN_POLICY)
    expect(() => parseRunPolicy({ ...DEFAULT_RUN_POLICY, extra: true })).toThrow(invalid)
    expect(() => parseRunPolicy({ ...DEFAULT_RUN_POLICY, maxNorm: null })).toThrow(invalid)
    expect(() => parseRunPolicy({ ...DEFAULT_RUN_POLICY, target: 3, quorum: 4 })).toThrow(invalid)
  })
})
