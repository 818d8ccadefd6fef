import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { initCoordinator } from '../../src/cli/coordinator-directory.ts'
import type { PlanSpec } from '../../src/plan/spec.ts'
import { S3Bucket } from '../../src/store/s3/bucket.ts'
import { s3Location } from '../../src/store/s3/location.ts'
import { MICRO_SPEC } from '../network.ts'
import { S3Proxy } from '../s3-proxy.ts'
import { hasSeaweed, S3_CREDENTIALS, TestS3, WITHOUT_SEAWEED } from '../seaweed.ts'
import { Service, tapestry, tapestryJson } from './processes.ts'
import { writeTexts } from './texts.ts'
import { until } from './waiting.ts'

const NODES = [
  { name: 'one', language: 'sw' },
  { name: 'two', language: 'fr' },
]
/** A delta of 200 KB: more than the probes and marks that the coordinator writes as well. */
const SPEC: PlanSpec = {
  ...MICRO_SPEC,
  architecture: { ...MICRO_SPEC.architecture, hiddenSize: 32, intermediateSize: 86, layers: 3, heads: 4, kvHeads: 4 },
}
const LARGE_BYTES = 100_000
const READY = z.object({ checks: z.record(z.string(), z.object({ ok: z.boolean() })) })
const ROUNDS = z.array(z.looseObject({ phase: z.string(), reason: z.string().nullable() }))

describe.skipIf(!hasSeaweed)(`a federation on a bucket${WITHOUT_SEAWEED}`, () => {
  let root: string
  let server: TestS3
  let proxy: S3Proxy
  let coordinator: Service | undefined
  let federation: string
  let port = 0
  const nodes: Service[] = []

  const dir = () => join(root, 'coordinator')
  const storage = (prefix: string, at = proxy.port) => server.setting('federation', prefix, at)
  const run = (...args: string[]) => tapestry(args, { home: root, env: S3_CREDENTIALS })

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'tapestry-bucket-'))
    server = await TestS3.start()
    await server.makeBucket('federation')
    proxy = await S3Proxy.start(server.port)
    const settings = { leaseMs: 4000, logLevel: 'warn' }
    federation = (await initCoordinator({ dir: dir(), name: 'Test', settings, now: Date.now() })).id
    await serve()
    await Promise.all(NODES.map(enrol))
    await writeFile(join(root, 'plan.json'), JSON.stringify(SPEC))
    const policy = ['--target', '2', '--quorum', '2', '--rounds', '1', '--min-evaluation', '10']
    await succeed('run', 'create', 'run', '--dir', dir(), '--plan', join(root, 'plan.json'), ...policy)
  })

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.kill()))
    await coordinator?.stop()
    await proxy?.close()
    await server?.stop()
    await rm(root, { recursive: true, force: true })
  })

  /** The storage is told by a flag alone: workers have to learn of it all the same. */
  async function serve(): Promise<void> {
    const args = ['coordinator', 'serve', '--dir', dir(), '--port', String(port), '--storage', storage('blobs')]
    coordinator = new Service('coordinator', args, { home: root, env: S3_CREDENTIALS })
    const { address } = await coordinator.line('serves', (line) => 'address' in line)
    port = Number(String(address).split(':').at(-1))
  }

  async function enrol({ name, language }: (typeof NODES)[number]): Promise<void> {
    const data = join(root, 'texts', name)
    await writeTexts(data, name, [language])
    const invited = z.looseObject({ invitation: z.string() })
    const invite = ['invite', 'create', '--member', `of-${name}`, '--dir', dir()]
    const { invitation } = await tapestryJson(invited, invite, { home: root })
    await writeFile(join(root, `${name}.invitation`), invitation)
    const where = ['--dir', join(root, name), '--data', data, '--name', name]
    await succeed('node', 'join', ...where, '--invitation-file', join(root, `${name}.invitation`))
  }

  async function succeed(...args: string[]): Promise<string> {
    const { code, stderr, stdout } = await run(...args)
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}`)
    return stdout
  }

  /** The checks that the running coordinator fails, as a load balancer asks. */
  async function failing(): Promise<readonly string[]> {
    const response = await fetch(`http://127.0.0.1:${port + 1}/readyz`)
    const { checks } = READY.parse(await response.json())
    return Object.entries(checks).flatMap(([check, { ok }]) => (ok ? [] : [check]))
  }

  const isLargeBlob = ({ method, url, headers }: IncomingMessage) =>
    method === 'PUT' && url?.includes('/sha256/') === true && Number(headers['content-length']) > LARGE_BYTES

  test('publishes a round in which the coordinator is killed while it puts a delta, and the bucket vanishes', async () => {
    let held = false
    proxy.treat = (request) => {
      if (!isLargeBlob(request)) return 'pass'
      held = true
      return 'hold'
    }
    for (const { name } of NODES) {
      const args = ['node', 'run', '--dir', join(root, name), '--rounds', '1']
      nodes.push(new Service(name, args, { home: root }))
    }
    await succeed('round', 'start', 'run', '--dir', dir())
    await until('a delta is on its way into the bucket', () => held || undefined)
    await coordinator?.kill()
    proxy.treat = () => 'pass'
    await serve()

    await until(
      'a contribution is accepted',
      () => nodes.some(({ lines }) => lines.some(({ type }) => type === 'accepted')) || undefined,
    )
    proxy.treat = () => 'no-bucket'
    await until(
      'the coordinator says that its storage is away',
      async () => (await failing()).includes('storage') || undefined,
    )
    const env = { ...S3_CREDENTIALS, TAPESTRY_STORAGE: storage('blobs') }
    const doctor = await tapestry(['doctor', 'coordinator', '--dir', dir()], { home: root, env })
    expect([doctor.code, doctor.stdout]).toEqual([1, expect.stringContaining('the bucket is not there')])
    proxy.treat = () => 'pass'

    const codes = await Promise.all(nodes.map((node) => node.exited))
    expect(codes, nodes.map(({ stderr }) => stderr).join('\n')).toEqual([0, 0])
    const rounds = await tapestryJson(ROUNDS, ['round', 'ls', 'run', '--dir', dir()], { home: root })
    expect(rounds).toMatchObject([{ phase: 'published', reason: null }])
    expect(await failing()).toEqual([])
    expect(coordinator?.stderr).not.toContain(S3_CREDENTIALS.AWS_SECRET_ACCESS_KEY)
  })

  test('is pulled from by strangers, and goes from a backup into another place of the bucket', async () => {
    const from = ['--from', `127.0.0.1:${port}`, '--trust', federation]
    await succeed('pull', 'run@1', '--output', join(root, 'pulled'), ...from)
    expect(await readdir(join(root, 'pulled'))).toContain('model.safetensors')
    const env = { ...S3_CREDENTIALS, TAPESTRY_STORAGE: storage('blobs') }
    const backup = await tapestry(['coordinator', 'backup', join(root, 'backup'), '--with-keys', '--dir', dir()], {
      home: root,
      env,
    })
    expect(backup).toMatchObject({ code: 0 })
    const again = { ...S3_CREDENTIALS, TAPESTRY_STORAGE: storage('restored') }
    const restore = ['coordinator', 'restore', join(root, 'backup'), '--dir', join(root, 'restored')]
    expect(await tapestry(restore, { home: root, env: again })).toMatchObject({ code: 0 })
    expect(await keysOf('restored')).toEqual(await keysOf('blobs'))
    expect(await keysOf('blobs')).not.toEqual([])
  })

  async function keysOf(prefix: string): Promise<readonly string[]> {
    const bucket = new S3Bucket(server.client(), s3Location(storage(prefix, server.port)))
    const keys: string[] = []
    for await (const { key } of bucket.list('sha256/')) keys.push(key)
    return keys
  }
})
