import { describe, expect, it } from 'vitest'
import { TapestryError } from '../core/error.ts'
import { keepReadiness, type Readiness, readinessOf } from './readiness.ts'

const holds = async () => {}

describe('readiness', () => {
  it('is there when every check holds, and names each that does not without telling secrets', async () => {
    expect(await readinessOf({ needed: { a: holds, b: holds }, degrading: {} })).toEqual({
      ready: true,
      findings: [{ check: 'a' }, { check: 'b' }],
    })
    const found = await readinessOf({
      needed: {
        holds,
        coded: () => Promise.reject(new TapestryError('DISK_FULL', 'no room')),
        strange: () => Promise.reject(new Error('postgres://user:password@host failed')),
      },
      degrading: {},
    })
    expect(found.ready).toBe(false)
    expect(found.findings[1]).toEqual({ check: 'coded', problem: 'no room' })
    expect(JSON.stringify(found)).not.toContain('password')
  })

  it('stays where only something that the work goes on without is missing, and says what', async () => {
    const away = () => Promise.reject(new TapestryError('UNAVAILABLE', 'away'))
    expect(await readinessOf({ needed: { holds }, degrading: { redis: away } })).toEqual({
      ready: true,
      findings: [{ check: 'holds' }, { check: 'redis', problem: 'away', degrading: true }],
    })
  })

  it('is not there when a check does not answer', async () => {
    const { ready, findings } = await readinessOf(
      { needed: { holds, silent: () => new Promise(() => {}) }, degrading: {} },
      20,
    )
    expect(ready).toBe(false)
    expect(findings.filter(({ problem }) => problem !== undefined)).toHaveLength(1)
  })

  it('tells of changes only, and never of being ready again once it is closed', async () => {
    let works = true
    const told: boolean[] = []
    const check = async () => {
      if (!works) throw new TapestryError('UNAVAILABLE', 'away')
    }
    const keeper = keepReadiness(
      { needed: { check }, degrading: {} },
      'it',
      ({ ready }: Readiness) => told.push(ready),
      3_600_000,
    )
    await keeper.now()
    await keeper.now()
    works = false
    await keeper.now()
    works = true
    await keeper.now()
    expect(told).toEqual([true, false, true])
    const late = keeper.now()
    keeper.close()
    expect((await late).ready).toBe(false)
    expect(told).toEqual([true, false, true, false])
  })
})
