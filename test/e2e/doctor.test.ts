import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { initCoordinator } from '../../src/cli/coordinator-directory.ts'
import { coordinatorExaminations } from '../../src/cli/doctor/coordinator.ts'
import { diagnose, type Examination } from '../../src/cli/doctor/diagnosis.ts'
import { downloadExaminations } from '../../src/cli/doctor/download.ts'
import { nodeExaminations } from '../../src/cli/doctor/node.ts'
import { createProgram } from '../../src/cli/program.ts'
import type { Clock } from '../../src/core/clock.ts'
import { TestNetwork } from '../network.ts'

let network: TestNetwork
let home: string

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tapestry-doctor-'))
  network = await TestNetwork.create({ participants: 1 })
})

afterAll(async () => {
  await network?.close()
  await rm(home, { recursive: true, force: true })
})

/** What was found that is not well, by check. */
async function illOf(examinations: readonly Examination[]): Promise<Record<string, string>> {
  const findings = await diagnose(examinations)
  for (const { state, remedy, check } of findings) if (state === 'warn') expect(remedy, check).toBeDefined()
  const ill = findings.filter(({ state }) => state !== 'ok')
  return Object.fromEntries(ill.map(({ check, state }) => [check, state]))
}

const coordinator = (
  env: Readonly<Record<string, string>> = { DATABASE_URL: network.parts.databaseUrl },
  dir = network.directory,
) => illOf(coordinatorExaminations(dir, env, network.clock))
const node = (clock: Clock = network.clock) => illOf(nodeExaminations(network.nodes[0]?.directory.root ?? '', clock))
const stranger = (from: string, federation = network.federation) =>
  illOf(downloadExaminations(from, { federation }, network.clock))

/** Somewhere a moment, without something. */
async function without(path: string, look: () => Promise<void>): Promise<void> {
  await rename(path, `${path}.away`)
  await look().finally(() => rename(`${path}.away`, path))
}

describe('a coordinator', () => {
  test('is well while it serves', async () => {
    expect(await coordinator()).toEqual({})
  })

  test('is ill with a key that others may read, without a database, or on that of another federation', async () => {
    const key = join(network.directory, 'keys', 'ca.key')
    await chmod(key, 0o644)
    expect(await coordinator()).toEqual({ keys: 'fail' })
    await chmod(key, 0o600)
    const nowhere = { DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none' }
    expect(await coordinator(nowhere)).toEqual({ database: 'fail', 'database clock': 'skip' })
    const other = join(home, 'other')
    await initCoordinator({ dir: other, name: 'Other', settings: { port: 0 }, now: network.clock.now() })
    expect(await coordinator(undefined, other)).toEqual({ database: 'fail', 'database clock': 'skip', port: 'warn' })
  })

  test('that is not there is one failure, and nothing that rests on it is looked at', async () => {
    const empty = join(home, 'empty')
    await mkdir(empty)
    const findings = await diagnose(coordinatorExaminations(empty, {}, network.clock))
    expect(findings[0]).toMatchObject({
      check: 'directory',
      state: 'fail',
      detail: expect.stringMatching(/^NOT_FOUND: /),
    })
    expect(new Set(findings.slice(1).map(({ state }) => state))).toEqual(new Set(['skip']))
  })

  test('without one of its keys says which', async () => {
    const key = join(network.directory, 'keys', 'ca.key')
    await without(key, async () => {
      const [first] = await diagnose(coordinatorExaminations(network.directory, {}, network.clock))
      expect(first?.detail).toBe(`DATA_INVALID: ${key} is missing`)
    })
  })

  test('without the key of its log says so, and does not make another', async () => {
    const key = join(network.directory, 'keys', 'log.key')
    await without(key, async () => {
      expect(await coordinator()).toMatchObject({ directory: 'fail' })
      expect(existsSync(key)).toBe(false)
    })
  })

  test('that runs without its database, and does not answer, is said to run', async () => {
    const lost = join(home, 'lost')
    await initCoordinator({ dir: lost, name: 'Lost', settings: { port: 0 }, now: network.clock.now() })
    await mkdir(join(lost, 'postgres'))
    // The lock of a process that lives and is another.
    await writeFile(join(lost, 'serve.lock'), `${process.ppid} somebody\n`)
    expect(await coordinator({}, lost)).toEqual({ database: 'fail', 'database clock': 'skip', port: 'fail' })
  })

  test('lives without a Redis that does not answer', async () => {
    const env = { DATABASE_URL: network.parts.databaseUrl, REDIS_URL: 'redis://127.0.0.1:1' }
    expect(await coordinator(env)).toEqual({ redis: 'warn' })
  })
})

describe('a node', () => {
  test('is well but for its recovery key, which belongs elsewhere', async () => {
    expect(await node()).toEqual({ 'recovery key': 'warn' })
  })

  test('is ill without its text, or with a clock that is wrong', async () => {
    const [source] = (await network.nodes[0]?.directory.read())?.sources ?? []
    await without(source?.path ?? '', async () => {
      expect(await node()).toEqual({ 'recovery key': 'warn', text: 'fail' })
    })
    const ahead = (ms: number): Clock => ({ now: () => network.clock.now() + ms })
    expect(await node(ahead(60_000))).toEqual({ 'recovery key': 'warn', clock: 'warn' })
    expect(await node(ahead(-600_000))).toMatchObject({ clock: 'fail' })
  })
})

describe('a stranger', () => {
  test('is well when the federation answers that it trusts', async () => {
    expect(await stranger(network.address)).toEqual({})
  })

  test('is told of another federation, and of nobody', async () => {
    const other = network.federation.replace(/.$/, (last) => (last === '0' ? '1' : '0')) as typeof network.federation
    expect(await stranger(network.address, other)).toMatchObject({ trust: 'fail' })
    expect(await stranger('127.0.0.1:1')).toMatchObject({ trust: 'fail', coordinator: 'fail' })
  })
})

describe('the command', () => {
  test('shows every finding, and fails when a check does', async () => {
    const root = network.nodes[0]?.directory.root ?? ''
    let text = ''
    const stdout = { write: (more: string) => (text += more) }
    const io = {
      stdout,
      stderr: stdout,
      env: { HOME: home },
      clock: network.clock,
      stopSignal: () => AbortSignal.abort(),
    }
    const run = async (words: string[]) => (await createProgram(words, io)).parseAsync(words, { from: 'user' })
    const words = ['doctor', 'node', '--dir', root, '--json']
    await run(words)
    expect(JSON.parse(text).findings).toHaveLength(11)
    text = ''
    await without(join(root, 'keys', 'node.key'), async () => {
      await expect(run(words)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    })
    expect(JSON.parse(text).findings).toContainEqual(expect.objectContaining({ check: 'keys', state: 'fail' }))
  })
})
