import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Monitor, openMonitor } from './monitor.ts'
import type { Readiness } from './readiness.ts'

let monitor: Monitor
let readiness: Readiness
let metrics: () => Promise<string>

beforeEach(async () => {
  readiness = { ready: true, findings: [{ check: 'database' }] }
  metrics = async () => 'tapestry_ready 1\n'
  monitor = await openMonitor({
    host: '127.0.0.1',
    port: 0,
    metrics: () => metrics(),
    readiness: async () => readiness,
    log: { warn() {} },
  })
})

afterEach(() => monitor.close())

const ask = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${monitor.port}${path}`, init)

describe('the monitor', () => {
  it('says that the process lives, whether or not it is ready', async () => {
    readiness = { ready: false, findings: [] }
    expect((await ask('/healthz')).status).toBe(200)
  })

  it('says ready with 200, not ready with 503 and what is wrong', async () => {
    const well = await ask('/readyz')
    expect([well.status, await well.json()]).toEqual([200, { status: 'ready', checks: { database: { ok: true } } }])
    readiness = { ready: false, findings: [{ check: 'database', problem: 'it is silent' }] }
    const ill = await ask('/readyz')
    expect(ill.status).toBe(503)
    expect(await ill.json()).toEqual({
      status: 'not-ready',
      checks: { database: { ok: false, problem: 'it is silent' } },
    })
  })

  it('serves metrics in the text format, and tells nothing of a failure but that it happened', async () => {
    const well = await ask('/metrics?x=1')
    expect(well.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    expect(await well.text()).toBe('tapestry_ready 1\n')
    metrics = () => Promise.reject(new Error('secret'))
    const ill = await ask('/metrics')
    expect(ill.status).toBe(500)
    expect(await ill.text()).not.toContain('secret')
  })

  it('does nothing else', async () => {
    expect((await ask('/')).status).toBe(404)
    expect((await ask('/metrics', { method: 'POST', body: 'x' })).status).toBe(405)
  })

  it('refuses an address that is taken, or not here', async () => {
    const options = { metrics, readiness: async () => readiness, log: { warn() {} } }
    const taken = openMonitor({ ...options, host: '127.0.0.1', port: monitor.port })
    await expect(taken).rejects.toMatchObject({ code: 'PORT_IN_USE' })
    await expect(openMonitor({ ...options, host: '192.0.2.1', port: 0 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
  })
})
