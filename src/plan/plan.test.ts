import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalBytes } from '../core/canonical-json.ts'
import { digestOf } from '../core/digest.ts'
import { ensurePlan, makePlan, parsePlan, planBytes, planDigest, verifyPlan } from './plan.ts'
import { PRESETS } from './presets.ts'

const plan = makePlan(PRESETS.tiny)
const code = (expected: string) => expect.objectContaining({ code: expected })

/** Every byte of these graphs is a promise to other nodes: a changed digest is a new plan format. */
const PINNED = {
  tiny: {
    train: 'sha256:fe9cbae197856a7697a7b33ab280b8dab1966d21218228022f790ee47d2c5423',
    score: 'sha256:13c1f57fda47d30c56604ae3c02e86b90d503cf18f594663e69ccd30f0e0ade4',
  },
  small: {
    train: 'sha256:94fb8c19ed170137365f316b2b0a03bdb444b93cea6411789161861206c6a9b9',
    score: 'sha256:90b9d99a6b09bd8cd31ac20b1826013438d0c06f63170ec0bf5d993f7c108d55',
  },
  base: {
    train: 'sha256:8b021962aadae36cbc55abf97525d53fcdf9bebd1c2b9f9699fd6250ddd895f7',
    score: 'sha256:a855a92b00ed1fd80b5a30ee1f0c4456d5699a766f9db6ecd6fc1c13d94c6540',
  },
}

describe('plan', () => {
  test.each(['tiny', 'small', 'base'] as const)('has the pinned graphs: %s', (name) => {
    expect(makePlan(PRESETS[name]).graphs).toEqual(PINNED[name])
  })

  test('survives its bytes', () => {
    expect(parsePlan(planBytes(plan))).toEqual(plan)
    expect(planDigest(parsePlan(planBytes(plan)))).toBe(planDigest(plan))
  })

  test('verifies, and gives the graphs it names', () => {
    const graphs = verifyPlan(plan)
    expect({ train: digestOf(graphs.train), score: digestOf(graphs.score) }).toEqual(plan.graphs)
  })

  test.each(['train', 'score'] as const)('with another %s graph is refused', (kind) => {
    const forged = { ...plan, graphs: { ...plan.graphs, [kind]: digestOf('a graph of somebody else') } }
    expect(() => verifyPlan(forged)).toThrow(code('VERIFICATION_FAILED'))
  })

  test('with a changed spec no longer fits its graphs', () => {
    const architecture = { ...plan.spec.architecture, ropeTheta: 10_001 }
    expect(() => verifyPlan({ ...plan, spec: { ...plan.spec, architecture } })).toThrow(code('VERIFICATION_FAILED'))
  })

  test.each([
    ['empty', new Uint8Array()],
    ['not UTF-8', Uint8Array.of(0xff, 0xfe)],
    ['truncated', planBytes(plan).slice(0, -1)],
    ['followed by more', Buffer.concat([planBytes(plan), Buffer.from(' ')])],
    ['behind a byte order mark', Buffer.concat([Buffer.from('\ufeff'), planBytes(plan)])],
    ['not canonical', Buffer.from(JSON.stringify({ spec: plan.spec, graphs: plan.graphs }))],
    ['with another member', canonicalBytes({ ...plan, code: 'rm -rf' })],
    ['without graphs', canonicalBytes({ spec: plan.spec })],
    ['with a digest that is none', canonicalBytes({ ...plan, graphs: { train: 'sha256:0', score: 'x' } })],
    ['too long', Buffer.alloc(1_000_000, 0x20)],
  ])('refuses bytes that are %s', (_, bytes) => {
    expect(() => parsePlan(bytes)).toThrow(code('INVALID_ARGUMENT'))
  })

  test('refuses any JSON that is not a plan with a code', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        expect(() => ensurePlan(json)).toThrow(code('INVALID_ARGUMENT'))
      }),
      { seed: 1 },
    )
  })
})
