import { describe, expect, it } from 'vitest'
import { DEFAULT_DEMANDS } from '../core/demands.ts'
import { digestOf } from '../core/digest.ts'
import { ensureFederationId, ensureRunId } from '../core/ids.ts'
import { type Invitation, type NodePolicy, nodePolicySchema, objectionTo, objectionToSending } from './node-policy.ts'

const here: Invitation = {
  federation: ensureFederationId(digestOf('federation')),
  run: ensureRunId('base'),
  plan: digestOf('plan'),
  demands: DEFAULT_DEMANDS,
  peerReviews: false,
}

describe('objectionTo', () => {
  const cases: readonly [string, NodePolicy, Partial<Invitation>, string | undefined][] = [
    ['no rules', {}, {}, undefined],
    [
      'everything allowed',
      { coordinators: [here.federation], runs: [here.run], plans: [digestOf('plan')] },
      {},
      undefined,
    ],
    ['another federation', { coordinators: [ensureFederationId(digestOf('other'))] }, {}, 'coordinators'],
    ['no federation at all', { coordinators: [] }, {}, 'coordinators'],
    ['another run', { runs: [ensureRunId('other')] }, {}, 'runs'],
    ['another plan', { plans: [digestOf('other')] }, {}, 'plans'],
    ['a plan that is not known yet', { plans: [digestOf('plan')] }, { plan: undefined }, 'plans'],
    ['an allowed use', { uses: ['pretraining'] }, {}, undefined],
    ['another use', { uses: ['evaluation'] }, {}, 'uses'],
    ['a use that is not stated', { uses: ['pretraining'] }, { demands: null }, 'uses'],
    ['peers that are shown nothing', { peers: false }, {}, undefined],
    ['peers that are shown contributions', { peers: false }, { peerReviews: true }, 'peers'],
    ['peers that may be shown them', { peers: true }, { peerReviews: true }, undefined],
    ['an allowed licence', { licences: ['Apache-2.0'] }, {}, undefined],
    ['another licence', { licences: ['CC-BY-SA-4.0'] }, {}, 'licences'],
    ['a licence that is not stated', { licences: ['Apache-2.0'] }, { demands: null }, 'licences'],
  ]
  it.each(cases)('%s', (_, policy, change, rule) => {
    expect(objectionTo(policy, { ...here, ...change })?.rule).toBe(rule)
  })
})

describe('objectionToSending', () => {
  it.each([
    [{}, { bytes: 1e12, norm: 1e12 }, undefined],
    [{ maxBytes: 10 }, { bytes: 10, norm: 0 }, undefined],
    [{ maxBytes: 10 }, { bytes: 11, norm: 0 }, 'maxBytes'],
    [{ maxNorm: 1 }, { bytes: 1, norm: 1 }, undefined],
    [{ maxNorm: 1 }, { bytes: 1, norm: 1.0001 }, 'maxNorm'],
    [{ maxNorm: 1 }, { bytes: 1, norm: Number.NaN }, 'maxNorm'],
  ] as const)('%j, %j: %s', (policy, delta, rule) => {
    expect(objectionToSending(policy, delta)?.rule).toBe(rule)
  })
})

describe('nodePolicySchema', () => {
  it.each([
    [{ privacy: 2 }],
    [{ run: ['base'] }],
    [{ runs: 'base' }],
    [{ protected: { folders: ['sacred'] } }],
    [{ protected: { terms: [''] } }],
    [{ maxNorm: -1 }],
    [{ maxNorm: Number.NaN }],
    [{ uses: ['anything'] }],
    [{ plans: ['latest'] }],
  ])('refuses %j, which would silently protect nothing', (policy) => {
    expect(nodePolicySchema.safeParse(policy).success).toBe(false)
  })
})
