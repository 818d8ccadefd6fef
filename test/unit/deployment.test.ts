import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { COMMANDS } from '../../src/cli/commands.ts'
import { systemClock } from '../../src/core/clock.ts'

// There is no container engine where the tests run: the files are parsed and checked against the program that they start.

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')

const service = z.strictObject({
  image: z.string().optional(),
  build: z.string().optional(),
  restart: z.string(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).optional(),
  ports: z.array(z.string().regex(/^\d+:\d+$/)).optional(),
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
      if (healthcheck !== undefined) await ensureCommand(healthcheck.test.slice(3))
    }
  })

  test('holds no secret', () => {
    expect(read('docker-compose.yml')).not.toMatch(/PASSWORD: +[^$\s]/)
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
