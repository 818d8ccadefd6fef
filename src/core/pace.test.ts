import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Pace } from './pace.ts'

const tooSlow = expect.objectContaining({ code: 'DEADLINE_EXCEEDED' })

describe('Pace', () => {
  it('cuts what is slower than the least over a minute of waiting, and nothing before', () => {
    const pace = new Pace(1000)
    pace.count(0, 59_999)
    expect(() => pace.count(59_000, 1)).toThrow(tooSlow)
    const other = new Pace(1000)
    other.count(60_000, 60_000)
    expect(() => other.count(59_999, 60_000)).toThrow(tooSlow)
  })

  it('never cuts a peer that is always fast enough, or when it watches nothing', () => {
    const waits = fc.array(fc.nat(50_000), { maxLength: 50 })
    fc.assert(
      fc.property(waits, fc.integer({ min: 1, max: 10_000 }), (all, least) => {
        const [pace, blind] = [new Pace(least), new Pace(0)]
        for (const ms of all) {
          pace.count(Math.ceil((least * ms) / 1000), ms)
          blind.count(0, ms)
        }
      }),
    )
  })
})
