import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { create, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { Client as PostgresClient } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { createLog } from '../../src/cli/log.ts'
import { commonChecks, degradingChecks } from '../../src/cli/readiness-checks.ts'
import { TapestryError } from '../../src/core/error.ts'
import { SubmitContributionRequestSchema } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { refusalOf } from '../../src/participant/https-failure.ts'
import { parseTlsPem } from '../../src/participant/tls-credential.ts'
import { readinessOf } from '../../src/telemetry/readiness.ts'
import { TestNetwork } from '../network.ts'
import { hasRedis, testRedis } from '../redis.ts'
import { until } from './waiting.ts'

/** Debian has it in the package `prometheus`. */
const PROMTOOL = process.env['PROMTOOL'] ?? 'promtool'
const HAS_PROMTOOL = spawnSync(PROMTOOL, ['--version']).status === 0

const same = (bytes: Buffer) => bytes

let network: TestNetwork
let stranger: Client
let node: Client
const logged: string[] = []

beforeAll(async () => {
  const log = createLog({ flag: 'debug', env: {}, quiet: false, stderr: { write: (line) => logged.push(line) } })
  network = await TestNetwork.create({ participants: 1, log })
  const authority = Buffer.from(network.parts.secrets.authority.certificate)
  stranger = new Client(network.address, credentials.createSsl(authority))
  const { key, certificate } = parseTlsPem((await network.nodes[0]?.directory.readKey('tls.pem')) ?? '')
  node = new Client(network.address, credentials.createSsl(authority, Buffer.from(key), Buffer.from(certificate)))
})

afterAll(async () => {
  stranger?.close()
  node?.close()
  await network?.close()
})

type Ended = { readonly bytes: Buffer | undefined; readonly trailer: Metadata }

function call(path: string, metadata = new Metadata(), by = stranger, body = Buffer.alloc(0)): Promise<Ended> {
  return new Promise((resolve) => {
    let bytes: Buffer | undefined
    const sent = by.makeUnaryRequest(path, same, same, body, metadata, (error, answer) => {
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

describe('the log', () => {
  const linesWith = (id: string) =>
    logged.filter((line) => line.includes(`"requestId":"${id}"`)).map((line) => JSON.parse(line).msg)

  test('has the id of the request in every line that a handler writes, however deep', async () => {
    const named = new Metadata()
    named.set('x-request-id', 'mine-10')
    const manifest = Buffer.from('not a manifest')
    const signature = { keyId: 'ab'.repeat(32), value: new Uint8Array(64) }
    const body = Buffer.from(
      toBinary(SubmitContributionRequestSchema, create(SubmitContributionRequestSchema, { manifest, signature })),
    )
    await call('/tapestry.v1.ContributionService/SubmitContribution', named, node, body)
    expect(linesWith('mine-10')).toEqual(['submission refused'])
  })

  test('is found again by the id that a caller of ours was told with its refusal', async () => {
    const refused = await network
      .channel()
      .call(OperatorService.method.listRuns, {})
      .catch((error) => error)
    expect(refused).toMatchObject({ code: 'UNAUTHENTICATED', requestId: expect.any(String) })
    expect(linesWith(refused.requestId)).toEqual(['a call was refused'])
  })

  test('is found again by the id in a problem document', async () => {
    const { host, port, tls } = network.channel().https
    const text = await new Promise<string>((resolve, reject) => {
      const got = request({ host, port, ...tls, path: '/v1/artifacts/none' }, (response) => {
        response.setEncoding('utf8').once('data', resolve)
      })
      got.once('error', reject).end()
    })
    const error = refusalOf(400, text)
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', requestId: expect.any(String) })
    expect(linesWith(error instanceof TapestryError ? (error.requestId ?? '') : '')).toHaveLength(1)
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
    // A look may have begun before the change: what counts is what follows.
    const become = (status: number, serving: number) =>
      until(`${status}`, async () => ((await ready()) === status && (await health()) === serving) || undefined)
    await become(200, 1)
    await rename(key, `${key}.away`)
    await become(503, 2)
    const { checks } = z
      .object({ checks: z.record(z.string(), z.object({ ok: z.boolean() })) })
      .parse(await (await fetch(`${network.metrics}/readyz`)).json())
    expect(Object.entries(checks).filter(([, { ok }]) => !ok)).toEqual([['keys', { ok: false }]])
    await rename(`${key}.away`, key)
    await become(200, 1)
  })
})

/** Names of ours in a PromQL expression. */
const namesIn = (expression: string) => expression.match(/\btapestry_\w+/g) ?? []

describe('what reads the metrics', () => {
  const read = (path: string) => readFileSync(new URL(`../../deploy/${path}`, import.meta.url), 'utf8')
  let served: ReadonlySet<string>

  beforeAll(async () => {
    const workers = await (await fetch(`${network.workerMetrics}/metrics`)).text()
    const types = [...`${await metrics()}\n${workers}`.matchAll(/^# TYPE (\w+) (\w+)$/gm)]
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

  test.skipIf(!HAS_PROMTOOL)(
    'promtool accepts the alerts and both expositions [skipped without promtool]',
    async () => {
      const check = (args: string[], input?: string) =>
        spawnSync(PROMTOOL, ['check', ...args], { input, encoding: 'utf8' })
      const alerts = fileURLToPath(new URL('../../deploy/prometheus/alerts.yaml', import.meta.url))
      expect(check(['rules', alerts])).toMatchObject({ status: 0 })
      for (const at of [network.metrics, network.workerMetrics]) {
        const text = await (await fetch(`${at}/metrics`)).text()
        const ours = text.replace(/^(# \w+ )?tapestry_(nodejs|process)_.*\n/gm, '')
        expect(check(['metrics'], ours)).toMatchObject({ status: 0, stdout: '', stderr: '' })
      }
    },
  )

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

describe('what is broken', () => {
  const Readyz = z.object({
    status: z.string(),
    checks: z.record(z.string(), z.object({ ok: z.boolean(), problem: z.string().optional() })),
  })
  /** Status, and every check that does not hold, each with its reason. */
  async function look(at = network.metrics): Promise<unknown[]> {
    const answer = await fetch(`${at}/readyz`)
    const { status, checks } = Readyz.parse(await answer.json())
    const ill = Object.entries(checks).filter(([, { ok }]) => !ok)
    for (const [, { problem }] of ill) expect(problem).toMatch(/.../)
    return [answer.status, status, ...ill.map(([check]) => check)]
  }
  const both = async () => [await look(), await look(network.workerMetrics)]
  const well = [200, 'ready']
  const without = (...checks: string[]) => [503, 'not-ready', ...checks]
  const sql = async (url: string, ...statements: string[]) => {
    const client = new PostgresClient({ connectionString: url })
    await client.connect()
    for (const statement of statements) await client.query(statement)
    await client.end()
  }

  /** A look may have begun before what was just broken: what counts is what follows. */
  const become = (what: unknown, ask: () => Promise<unknown>) =>
    until(JSON.stringify(what), async () => JSON.stringify(await ask()) === JSON.stringify(what) || undefined)

  test('is nothing at first', async () => {
    await become([well, well], both)
  })

  test('is storage that cannot be written', async () => {
    const scratch = join(network.directory, 'blobs', 'scratch')
    await rename(scratch, `${scratch}.away`)
    await become([without('storage'), without('storage')], both)
    await rename(`${scratch}.away`, scratch)
    await become([well, well], both)
  })

  test('is a disk below its watermark', async () => {
    const needed = await commonChecks(network.parts, Number.MAX_SAFE_INTEGER)
    const { ready, findings } = await readinessOf({ needed, degrading: {} })
    expect([ready, findings.filter(({ problem }) => problem).map(({ check }) => check)]).toEqual([false, ['disk']])
  })

  test('is a database without a migration of this build, or that lets nobody in', async () => {
    const { databaseUrl } = network.parts
    const last = 'SELECT max(migration_name) FROM _prisma_migrations'
    await sql(databaseUrl, `UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = (${last})`)
    await become([without('schema'), without('schema')], both)
    await sql(databaseUrl, 'UPDATE _prisma_migrations SET rolled_back_at = NULL')
    const [name, server] = [new URL(databaseUrl).pathname.slice(1), new URL('/postgres', databaseUrl).href]
    const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`
    await sql(server, `ALTER DATABASE "${name}" ALLOW_CONNECTIONS false`, cut)
    await become(without('database', 'schema'), () => look(network.workerMetrics))
    await become(without('database', 'schema'), async () => (await look()).slice(0, 4))
    await sql(server, `ALTER DATABASE "${name}" ALLOW_CONNECTIONS true`)
    await become([well, well], both)
  })

  test.skipIf(!hasRedis)(
    'is a Redis that has gone, without which work goes on [skipped without redis-server]',
    async () => {
      const redis = await testRedis()
      const context = { ...network.parts.context, config: { ...network.parts.context.config, redisUrl: redis.url } }
      const found = () => readinessOf({ needed: {}, degrading: degradingChecks(context) })
      expect((await found()).findings.filter(({ problem }) => problem)).toEqual([])
      await redis.stop()
      expect(await found()).toMatchObject({
        ready: true,
        findings: [{ check: 'workers' }, { problem: expect.any(String) }],
      })
    },
  )

  test('is a backlog that no worker takes; calls are answered all the same', async () => {
    await network.stopWorker()
    const since = network.clock.now() - 120_000
    await network.store.transact('ask', (tx) => tx.askForRevocation({ run: network.run, number: 1 }, since))
    await become([200, 'degraded', 'workers'], () => look())
    expect(await sampleOf('tapestry_readiness_check{check="workers"}')).toBe(0)
    await network.store.transact('take', (tx) => tx.leaseJob(['revoke'], network.clock.now(), 60_000))
    await become(well, () => look())
  })
})
