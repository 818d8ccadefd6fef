import { create } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { GetRoundResponseSchema, RoundPhase } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { reportJson, unlearned } from './report.ts'

const score = (mean: number, tokens = 100n) => ({ mean, standardError: 0.1, tokens })

function round(number: number, base: number, candidate: number, phase = RoundPhase.PUBLISHED) {
  return create(GetRoundResponseSchema, {
    round: {
      ref: { run: 'demo', number },
      phase,
      baseDigest: `sha256:base${number}`,
      checkpointDigest: `sha256:done${number}`,
    },
    contributions: [
      {
        node: 'node-a',
        status: 'accepted',
        weight: 0.5,
        weightReason: 'influence/2: half',
        bytes: 1000n,
        languages: [
          { language: 'vi', community: 'x', tokens: 10n, before: score(4, 300n), after: score(2, 300n) },
          { language: 'vi', community: 'y', tokens: 20n, before: score(8), after: score(6) },
        ],
      },
      { node: 'node-b', status: 'rejected', rejection: { reason: 'NON_FINITE', detail: 'NaN in it' } },
    ],
    languages: [
      { language: 'vi', base: score(base), candidate: score(candidate), measuredBy: ['node-a'], verdict: 'better' },
    ],
  })
}

describe('reportJson', () => {
  it('has the documented form', () => {
    const checkpoint = { version: 1, digest: 'sha256:done1', channel: 'global', path: '/tmp/model' }
    const peakRssMb = { coordinator: 200.5, node: 90 }
    const report = { rounds: [round(1, 5, 3)], checkpoint, verified: true, wallSeconds: 12.3, peakRssMb }
    expect(reportJson(report)).toEqual({
      rounds: [
        {
          round: 1,
          baseDigest: 'sha256:base1',
          checkpointDigest: 'sha256:done1',
          status: 'published',
          contributions: [
            {
              node: 'node-a',
              status: 'accepted',
              weight: 0.5,
              bytes: 1000,
              weightReason: 'influence/2: half',
              weightDecision: null,
              languages: { vi: { tokens: 30, lossBefore: 5, lossAfter: 3 } },
            },
            {
              node: 'node-b',
              status: 'rejected',
              weight: 0,
              bytes: 0,
              weightReason: null,
              weightDecision: null,
              reason: 'NON_FINITE',
              languages: {},
            },
          ],
          languages: { vi: { base: 5, candidate: 3, verdict: 'better' } },
        },
      ],
      checkpoint,
      verified: true,
      wallSeconds: 12.3,
      peakRssMb,
    })
  })
})

describe('unlearned', () => {
  it('compares the last candidate with the first base', () => {
    expect(unlearned([round(1, 5, 6), round(2, 6, 4)], ['vi'])).toEqual([])
    expect(unlearned([round(1, 5, 4), round(2, 4, 5)], ['vi'])).toEqual([{ language: 'vi', first: 5, last: 5 }])
  })

  it('takes a refused candidate for what it is: the base stands', () => {
    expect(unlearned([round(1, 5, 4), round(2, 4, 6, RoundPhase.REJECTED)], ['vi'])).toEqual([])
    expect(unlearned([round(1, 5, 3, RoundPhase.REJECTED)], ['vi'])).toHaveLength(1)
  })

  it('counts a language that was not measured', () => {
    expect(unlearned([round(1, 5, 4)], ['vi', 'sw'])).toEqual([{ language: 'sw', first: null, last: null }])
    expect(unlearned([], ['vi'])).toHaveLength(1)
  })
})
