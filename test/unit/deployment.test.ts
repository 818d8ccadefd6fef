import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { COMMANDS } from '../../src/cli/commands.ts'
import { serverConfig } from '../../src/config.ts'
import { systemClock } from '../../src/core/clock.ts'

// There is no container engine where the tests run: the files are parsed and checked against the program that they start.

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')

const service = z.strictObject({
  image: z.string().optional(),
  build: z.string().optional(),
  restart: z.string(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).optional(),
  ports: z.array(z.string().regex(/^(127\.0\.0\.1:)?\d+:\d+$/)).optional(),
  stop_grace_period: z.string().optional(),
  volumes: z.array(z.string().regex(/^[a-z]+:\//)).optional(),
  depends_on: z.record(z.string(), z.strictObject({ condition: z.string() })).optional(),
  healthcheck: z
    .strictObject({
      test: z.array(z.string()).min(2),
      interval: z.string(),
      timeout: z.string(),
      retries: z.number(),
    })
    .optional(),
})
const compose = z
  .object({ name: z.string(), services: z.record(z.string(), service), volumes: z.record(z.string(), z.null()) })
  .parse(parse(read('docker-compose.yml'), { merge: true }))

/** The command path and flags of a container that runs the image's entry point. */
async function ensureCommand(words: readonly string[]): Promise<void> {
  const path = [words.slice(0, 2).join(' '), words[0] ?? ''].find((candidate) => COMMANDS.has(candidate))
  expect(path, words.join(' ')).toBeDefined()
  const program = new Command()
  const { env, stdout, stderr } = process
  const definition = await COMMANDS.get(path ?? '')?.()
  definition?.attach(program, { env, stdout, stderr, clock: systemClock, stopSignal: () => AbortSignal.abort() })
  const known = program.commands.flatMap((command) => command.options.map((option) => option.long))
  for (const flag of words.filter((word) => word.startsWith('--'))) expect(known, flag).toContain(flag)
}

describe('docker-compose.yml', () => {
  test('has Postgres 18, Redis 7, a coordinator and a worker, each with a health check', () => {
    expect(compose.services['postgres']?.image).toBe('postgres:18')
    expect(compose.services['redis']?.image).toBe('redis:7')
    for (const name of ['postgres', 'redis', 'coordinator', 'worker']) {
      expect(compose.services[name]?.healthcheck, name).toBeDefined()
    }
  })

  test('refers only to services, volumes and commands that exist', async () => {
    for (const [name, { depends_on, volumes, build, command, healthcheck }] of Object.entries(compose.services)) {
      for (const [other, { condition }] of Object.entries(depends_on ?? {})) {
        const needed = compose.services[other]
        expect(needed, `${name} depends on ${other}`).toBeDefined()
        if (condition === 'service_healthy') expect(needed?.healthcheck, other).toBeDefined()
      }
      for (const volume of volumes ?? []) expect(compose.volumes).toHaveProperty(volume.split(':')[0] ?? '')
      if (build === undefined) continue
      await ensureCommand(command ?? [])
      if (healthcheck?.test[2] === 'bin/tapestry') await ensureCommand(healthcheck.test.slice(3))
    }
  })

  test('holds no secret', () => {
    expect(read('docker-compose.yml')).not.toMatch(/PASSWORD: +[^$\s]/)
  })
})

const variable = z.object({ name: z.string(), value: z.string().optional(), valueFrom: z.unknown().optional() })
const probe = z.object({
  httpGet: z.object({ path: z.string(), port: z.string() }).optional(),
  exec: z.object({ command: z.array(z.string()) }).optional(),
})
const container = z.object({
  name: z.string(),
  args: z.array(z.string()),
  env: z.array(variable),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })).default([]),
  startupProbe: probe.optional(),
  livenessProbe: probe,
  readinessProbe: probe.optional(),
  securityContext: z.object({ readOnlyRootFilesystem: z.literal(true), allowPrivilegeEscalation: z.literal(false) }),
})
const deployment = z.object({
  kind: z.literal('Deployment'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
    template: z.object({
      metadata: z.object({ labels: z.record(z.string(), z.string()) }),
      spec: z.object({ terminationGracePeriodSeconds: z.number(), containers: z.array(container).length(1) }),
    }),
  }),
})

describe('the Kubernetes manifests', () => {
  const documents = parseAllDocuments(read('deploy/kubernetes/tapestry.yaml')).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS()
  })
  const deployments = documents.flatMap((document) => deployment.safeParse(document).data ?? [])

  test('start commands, flags and settings that exist', async () => {
    expect(deployments.map(({ metadata }) => metadata.name)).toEqual(['tapestry-coordinator', 'tapestry-worker'])
    for (const { spec } of deployments) {
      for (const { args, env, livenessProbe } of spec.template.spec.containers) {
        await ensureCommand(args)
        if (livenessProbe.exec !== undefined) await ensureCommand(livenessProbe.exec.command.slice(2))
        const given = Object.fromEntries(env.map(({ name, value }) => [name, value ?? 'from a secret']))
        const { graceMs } = serverConfig({ flags: {}, env: given, file: {} })
        expect(spec.template.spec.terminationGracePeriodSeconds * 1000).toBeGreaterThan(graceMs)
        const known = ['TAPESTRY_PUBLIC_ADDRESS', 'TAPESTRY_GRACE_MS', 'DATABASE_URL']
        expect(Object.keys(given).filter((name) => !known.includes(name))).toEqual([])
      }
    }
  })

  test('probe paths that the metrics listener serves, at its port', () => {
    for (const one of deployments.flatMap(({ spec }) => spec.template.spec.containers)) {
      const port = one.ports.find(({ name }) => name === 'metrics')?.containerPort
      expect(one.args).toContain(`0.0.0.0:${port}`)
      const probes = [one.startupProbe, one.livenessProbe, one.readinessProbe]
      expect(probes.map((each) => each?.httpGet)).toEqual([
        { path: '/healthz', port: 'metrics' },
        { path: '/healthz', port: 'metrics' },
        { path: '/readyz', port: 'metrics' },
      ])
    }
  })

  test('select the pods that they mean, and hold no secret', () => {
    for (const { spec } of deployments) expect(spec.template.metadata.labels).toEqual(spec.selector.matchLabels)
    expect(documents.map(({ kind }) => kind)).not.toContain('Secret')
  })
})

describe('Dockerfile', () => {
  test('runs as an ordinary user, by the entry point that the package declares', () => {
    const lines = read('Dockerfile').split('\n')
    const bin = z.object({ bin: z.object({ tapestry: z.string() }) }).parse(JSON.parse(read('package.json'))).bin
    expect(lines).toContain(`ENTRYPOINT ["./${bin.tapestry}"]`)
    expect(lines.findLastIndex((line) => line.startsWith('USER '))).toBeGreaterThan(
      lines.findLastIndex((line) => line.startsWith('FROM ')),
    )
    for (const line of lines.filter((each) => each.startsWith('COPY package'))) {
      for (const file of line.split(' ').slice(1, -1)) expect(() => read(file)).not.toThrow()
    }
  })
})
