import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDuration, parseDuration } from './duration.ts'

describe('parseDuration', () => {
  it.each([
    ['500ms', 500],
    ['90s', 90_000],
    ['10m', 600_000],
    ['24h', 86_400_000],
    ['1h30m', 5_400_000],
    ['0.5h', 1_800_000],
    ['2d', 172_800_000],
  ])('%s', (text, ms) => expect(parseDuration(text)).toBe(ms))

  it.each(['', '10', 'h', '-1h', '1 h', '1w', '1hour', '1e3s', `${'9'.repeat(20)}d`])('refuses %j', (text) => {
    expect(() => parseDuration(text)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  it('is an inverse of writing whole units', () => {
    const unit = fc.constantFrom(['ms', 1], ['s', 1000], ['m', 60_000], ['h', 3_600_000] as const)
    fc.assert(fc.property(fc.nat(10_000), unit, (n, [name, ms]) => parseDuration(`${n}${name}`) === n * Number(ms)))
  })
})

it('formats for people', () => {
  expect([250, 12_400, 90_000, 5_400_000, 86_400_000].map(formatDuration)).toEqual([
    '250ms',
    '12.4s',
    '1m 30s',
    '1h 30m',
    '1d',
  ])
})
