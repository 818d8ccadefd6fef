import { readFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { TestNetwork } from '../network.ts'

const same = (bytes: Buffer) => bytes

let network: TestNetwork
let stranger: Client

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 1 })
  const { certificate } = network.parts.secrets.authority
  stranger = new Client(network.address, credentials.createSsl(Buffer.from(certificate)))
})

afterAll(async () => {
  stranger?.close()
  await network?.close()
})

type Ended = { readonly bytes: Buffer | undefined; readonly trailer: Metadata }

function call(path: string, metadata = new Metadata()): Promise<Ended> {
  return new Promise((resolve) => {
    let bytes: Buffer | undefined
    const sent = stranger.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error, answer) => {
      bytes = answer
      if (error) resolve({ bytes, trailer: error.metadata })
    })
    sent.on('status', ({ metadata: trailer }) => resolve({ bytes, trailer }))
  })
}

async function metrics(): Promise<string> {
  return (await fetch(`${network.metrics}/metrics`)).text()
}

/** The value of a series, as Prometheus would read it. */
async function sampleOf(series: string): Promise<number | undefined> {
  const line = (await metrics()).split('\n').find((text) => text.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

describe('a request', () => {
  const id = (trailer: Metadata) => trailer.get('x-request-id')[0]

  test('is named by its caller, or by its trace, or here, and the caller is told the name', async () => {
    const path = '/tapestry.v1.EnrollmentService/GetFederation'
    const own = new Metadata()
    own.set('x-request-id', 'mine-7')
    expect(id((await call(path, own)).trailer)).toBe('mine-7')
    const traced = new Metadata()
    traced.set('traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')
    expect(id((await call(path, traced)).trailer)).toBe('4bf92f3577b34da6a3ce929d0e0e4736')
    expect(id((await call(path)).trailer)).toMatch(/^[\da-f-]{36}$/)
  })

  test('is told its name when it is refused, and over HTTPS', async () => {
    const own = new Metadata()
    own.set('x-request-id', 'mine-8')
    expect(id((await call('/tapestry.v1.OperatorService/ListRuns', own)).trailer)).toBe('mine-8')
    const { host, port, tls } = network.channel().https
    const header = await new Promise((resolve, reject) => {
      const headers = { 'x-request-id': 'mine-9' }
      request({ host, port, ...tls, path: '/log/checkpoint', headers }, (response) => {
        response.resume()
        resolve(response.headers['x-request-id'])
      })
        .once('error', reject)
        .end()
    })
    expect(header).toBe('mine-9')
  })
})

describe('/metrics', () => {
  test('counts calls by method and code', async () => {
    const series = 'tapestry_rpc_calls_total{method="OperatorService/ListRuns",code="UNAUTHENTICATED"}'
    const before = (await sampleOf(series)) ?? 0
    await call('/tapestry.v1.OperatorService/ListRuns')
    expect(await sampleOf(series)).toBe(before + 1)
  })

  test('shows what the database holds', async () => {
    await network.startRound()
    expect(await sampleOf('tapestry_nodes{status="active"}')).toBe(1)
    expect(await sampleOf('tapestry_rounds{phase="open"}')).toBe(1)
    expect(await sampleOf('tapestry_contributions_total{outcome="accepted",reason=""}')).toBe(0)
    expect(await sampleOf('tapestry_log_entries')).toBeGreaterThan(0)
    expect(await sampleOf('tapestry_ready')).toBe(1)
  })

  test('names no node, member or address', async () => {
    const text = await metrics()
    expect(text).not.toContain(network.nodes[0]?.id ?? 'node-')
    expect(text).not.toContain('member-of-')
    expect(text).not.toContain('127.0.0.1')
  })
})

describe('readiness', () => {
  /** 1 is SERVING, 2 is NOT_SERVING. */
  const health = async () => (await call('/grpc.health.v1.Health/Check')).bytes?.at(-1)

  test('goes when a key is gone and comes back with it, over HTTP and gRPC alike', async () => {
    const key = join(network.directory, 'keys', 'release.key')
    const ready = async () => (await fetch(`${network.metrics}/readyz`)).status
    expect([await ready(), await health()]).toEqual([200, 1])
    await rename(key, `${key}.away`)
    expect([await ready(), await health()]).toEqual([503, 2])
    const { checks } = z
      .object({ checks: z.record(z.string(), z.object({ ok: z.boolean() })) })
      .parse(await (await fetch(`${network.metrics}/readyz`)).json())
    expect(Object.entries(checks).filter(([, { ok }]) => !ok)).toEqual([['keys', { ok: false }]])
    await rename(`${key}.away`, key)
    expect([await ready(), await health()]).toEqual([200, 1])
  })
})

/** Names of ours in a PromQL expression. */
const namesIn = (expression: string) => expression.match(/\btapestry_\w+/g) ?? []

describe('what reads the metrics', () => {
  const read = (path: string) => readFileSync(new URL(`../../deploy/${path}`, import.meta.url), 'utf8')
  let served: ReadonlySet<string>

  beforeAll(async () => {
    const types = [...(await metrics()).matchAll(/^# TYPE (\w+) (\w+)$/gm)]
    served = new Set(types.flatMap(([, name = '', type]) => (type === 'histogram' ? [`${name}_bucket`] : [name])))
  })

  test('the dashboard asks for nothing that is not served', () => {
    const dashboard = z
      .object({
        panels: z.array(z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })).default([]) })),
      })
      .parse(JSON.parse(read('grafana/coordinator.json')))
    const names = dashboard.panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => namesIn(expr)))
    expect(names.length).toBeGreaterThan(20)
    expect([...new Set(names)].filter((name) => !served.has(name))).toEqual([])
  })

  test('the alerts ask for nothing that is not served, and each is explained to whoever is woken', () => {
    const rules = z
      .object({ groups: z.array(z.object({ rules: z.array(z.object({ alert: z.string(), expr: z.string() })) })) })
      .parse(parse(read('prometheus/alerts.yaml')))
      .groups.flatMap((group) => group.rules)
    const names = rules.flatMap(({ expr }) => namesIn(expr))
    expect([...new Set(names)].filter((name) => !served.has(name))).toEqual([])
    const page = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8')
    for (const { alert } of rules) expect(page, alert).toContain(`### ${alert}\n`)
  })
})
