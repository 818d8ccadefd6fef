import { describe, expect, test } from 'vitest'
import { parseStrategyText } from '../core/strategy.ts'
import { PRESETS } from '../plan/presets.ts'
import type { PlanSpec } from '../plan/spec.ts'
import { specForStrategy } from './plan-of-strategy.ts'

const { tiny } = PRESETS
const training = (change: Partial<PlanSpec['training']>): PlanSpec => ({
  ...tiny,
  training: { ...tiny.training, ...change },
})

describe('specForStrategy', () => {
  test('tells nodes what the strategy asks of them, and nothing when it asks nothing', () => {
    const fedprox = parseStrategyText('fedprox:mu=0.01')
    const easgd = parseStrategyText('easgd:alpha=0.1')
    expect(specForStrategy(tiny, fedprox)).toEqual(training({ proximal: { mu: 0.01 } }))
    expect(specForStrategy(tiny, easgd)).toEqual(training({ elastic: { alpha: 0.1 } }))
    expect(specForStrategy(tiny, parseStrategyText('krum:byzantine=1'))).toEqual(tiny)
    expect(specForStrategy(training({ proximal: { mu: 0.01 } }), fedprox)).toEqual(training({ proximal: { mu: 0.01 } }))
  })

  test.each<[string, Partial<PlanSpec['training']>]>([
    ['mean', { proximal: { mu: 0.01 } }],
    ['fedprox:mu=0.01', { proximal: { mu: 0.02 } }],
    ['fedprox:mu=0.01', { elastic: { alpha: 0.1 } }],
    ['easgd:alpha=0.1', { proximal: { mu: 0.01 } }],
    ['diloco', { elastic: { alpha: 0.1 } }],
  ])('refuses %s for a plan with %j', (text, change) => {
    expect(() => specForStrategy(training(change), parseStrategyText(text))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
  })
})
