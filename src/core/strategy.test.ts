import { describe, expect, it } from 'vitest'
import {
  ensureStrategy,
  fewestContributions,
  mostContributions,
  parseStrategyText,
  STRATEGY_NAMES,
  type StrategyName,
  strategyText,
} from './strategy.ts'

const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })

describe('ensureStrategy', () => {
  it('fills in what is left out', () => {
    expect(ensureStrategy('diloco', { rate: 0.5 }).parameters).toEqual({ rate: 0.5, beta: 0.9 })
    expect(ensureStrategy('mean', {})).toEqual({ name: 'mean', parameters: {} })
  })

  it.each<[string, Record<string, number>]>([
    ['average', {}],
    ['', {}],
    ['__proto__', {}],
    ['mean', { weight: 1 }],
    ['krum', {}],
    ['krum', { byzantine: -1 }],
    ['krum', { byzantine: 1.5 }],
    ['krum', { byzantine: Number.NaN }],
    ['krum', { byzantine: 1e9 }],
    ['multi-krum', { byzantine: 1 }],
    ['multi-krum', { byzantine: 1, chosen: 0 }],
    ['clipped-mean', { limit: 0 }],
    ['clipped-mean', { limit: Number.POSITIVE_INFINITY }],
    ['trimmed-mean', { trim: -1 }],
    ['fedavgm', { beta: 1 }],
    ['fedadam', { tau: 0 }],
    ['fedadam', { rate: Number.NaN }],
    ['fedadagrad', { beta2: 0.9 }],
    ['geometric-median', { smoothing: 0 }],
    ['fedprox', {}],
    ['fedprox', { mu: 0 }],
    ['fedprox', { mu: 1e6 }],
    ['easgd', { alpha: 0 }],
    ['easgd', { alpha: 1.01 }],
  ])('refuses %s with %j', (name, parameters) => {
    expect(() => ensureStrategy(name, parameters)).toThrow(refused)
  })
})

describe('parseStrategyText', () => {
  it('reads what strategyText writes, for every strategy', () => {
    const required: Partial<Record<StrategyName, Record<string, number>>> = {
      krum: { byzantine: 1 },
      'multi-krum': { byzantine: 1, chosen: 2 },
      'trimmed-mean': { trim: 1 },
      'clipped-mean': { limit: 0.5 },
      fedprox: { mu: 0.01 },
      easgd: { alpha: 0.1 },
    }
    for (const name of STRATEGY_NAMES) {
      const strategy = ensureStrategy(name, required[name] ?? {})
      expect(parseStrategyText(strategyText(strategy))).toEqual(strategy)
    }
  })

  it.each(['krum:', 'krum:byzantine', 'krum:byzantine=', 'krum:byzantine=-1', 'krum:byzantine=1,byzantine=2', 'x:y=1'])(
    'refuses %s',
    (text) => {
      expect(() => parseStrategyText(text)).toThrow(refused)
    },
  )
})

it('knows how many contributions a strategy takes', () => {
  const fewest = (text: string) => fewestContributions(parseStrategyText(text))
  expect(fewest('mean')).toBe(1)
  expect(fewest('krum:byzantine=1')).toBe(5)
  expect(fewest('multi-krum:byzantine=1,chosen=2')).toBe(5)
  expect(fewest('multi-krum:byzantine=1,chosen=6')).toBe(7)
  expect(fewest('trimmed-mean:trim=2')).toBe(5)
  expect(mostContributions(parseStrategyText('median'))).toBe(Number.POSITIVE_INFINITY)
  expect(mostContributions(parseStrategyText('krum:byzantine=1'))).toBeLessThan(1e5)
  expect(mostContributions(parseStrategyText('easgd:alpha=0.3'))).toBe(3)
})
