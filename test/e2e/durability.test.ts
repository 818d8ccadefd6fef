import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { coordinatorPaths, initCoordinator } from '../../src/cli/coordinator-directory.ts'
import { randomFrom } from '../../src/plan/random.ts'
import type { PlanSpec } from '../../src/plan/spec.ts'
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts'
import { MICRO_SPEC } from '../network.ts'
import { killPostgres, type Line, Service, tapestry, tapestryJson } from './processes.ts'
import { writeTexts } from './texts.ts'
import { until } from './waiting.ts'

const RUN = 'run'
const ROUNDS = 2
const NODES = [
  { name: 'one', languages: ['sw'] },
  { name: 'two', languages: ['fr'] },
  { name: 'three', languages: ['vi', 'sw'] },
]

/** A delta of 200 KB and a training of some seconds: there is something to interrupt. */
const SPEC: PlanSpec = {
  ...MICRO_SPEC,
  architecture: { ...MICRO_SPEC.architecture, hiddenSize: 32, intermediateSize: 86, layers: 3, heads: 4, kvHeads: 4 },
  training: { ...MICRO_SPEC.training, localSteps: 20 },
}

const roundsSchema = z.array(
  z.looseObject({
    round: z.number(),
    phase: z.string(),
    checkpointDigest: z.string().nullable(),
    reason: z.string().nullable(),
  }),
)
const manifestSchema = z.looseObject({
  manifest: z.looseObject({ contributions: z.array(z.looseObject({ id: z.string() })) }),
})

let root: string
let port: number
let federation: string
let undisturbed: { readonly digests: readonly (string | null)[]; readonly wallMs: number }

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-durability-'))
  const template = join(root, 'template')
  const dir = join(template, 'coordinator')
  // A dead worker's job is taken over within seconds instead of a minute.
  const made = await initCoordinator({
    dir,
    name: 'Test',
    settings: { leaseMs: 4000, logLevel: 'warn' },
    now: Date.now(),
  })
  federation = made.id
  const plan = join(root, 'plan.json')
  await writeFile(plan, JSON.stringify(SPEC))
  const coordinator = serve(template, 0)
  try {
    port = await portOf(coordinator)
    for (const node of NODES) await joinNode(template, node)
    const counts = ['--target', '3', '--quorum', '3', '--rounds', String(ROUNDS)]
    const policy = [...counts, '--continuous', '--min-evaluation', '10']
    await succeed(['run', 'create', RUN, '--dir', dir, '--plan', plan, ...policy])
  } finally {
    await coordinator.stop()
  }
  undisturbed = await take('undisturbed', [])
  expect(undisturbed.digests).toHaveLength(ROUNDS)
  expect(undisturbed.digests).not.toContain(null)
})

afterAll(() => rm(root, { recursive: true, force: true }))

function serve(at: string, on: number): Service {
  const args = ['coordinator', 'serve', '--dir', join(at, 'coordinator'), '--port', String(on)]
  return new Service('coordinator', args, { home: root })
}

/** Waits until it serves. */
async function portOf(coordinator: Service): Promise<number> {
  const { address } = await coordinator.line('serves', (line) => 'address' in line)
  return Number(String(address).split(':').at(-1))
}

async function joinNode(at: string, { name, languages }: (typeof NODES)[number]): Promise<void> {
  const data = join(root, 'texts', name)
  await writeTexts(data, name, languages)
  const invited = z.looseObject({ invitation: z.string() })
  const dir = ['--dir', join(at, 'coordinator')]
  const { invitation } = await tapestryJson(invited, ['invite', 'create', '--member', `of-${name}`, ...dir], {
    home: root,
  })
  const where = ['--dir', join(at, name), '--data', data, '--name', name]
  await succeed(['node', 'join', ...where, '--invitation-file', '-'], invitation)
}

async function succeed(args: readonly string[], input = ''): Promise<void> {
  const { code, stderr } = await tapestry(args, { home: root, input })
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}`)
}

/** What a case can do to the federation while it works. */
type Stage = {
  readonly nodes: ReadonlyMap<string, Service>
  /** Every line that any node has written in this case, in the order of arrival. */
  readonly lines: readonly Line[]
  /** Waits until a line of some node fits; rounds that have passed by then count as well. */
  seen(what: string, wanted: (line: Line) => boolean, times?: number): Promise<void>
  /** Kills the coordinator with its workers, and starts it again on the same port. */
  restart(options?: { readonly withPostgres?: boolean }): Promise<void>
  /** Kills a node with its training, and starts it again. */
  restartNode(name: string): Promise<void>
}

type Disturbance = (stage: Stage) => Promise<void>

/** Runs two rounds on a copy of the template while they are disturbed. @returns what was published. */
async function take(name: string, disturbances: readonly Disturbance[]) {
  const at = join(root, name.replace(/\W+/g, '-'))
  await mkdir(at)
  await promisify(execFile)('cp', ['-a', `${join(root, 'template')}/.`, at])
  const dir = join(at, 'coordinator')
  const running: { coordinator: Service; readonly nodes: Map<string, Service>; readonly lines: Line[] } = {
    coordinator: serve(at, port),
    nodes: new Map(),
    lines: [],
  }
  const startNode = (node: string) => {
    const args = ['node', 'run', '--dir', join(at, node), '--rounds', String(ROUNDS)]
    running.nodes.set(node, new Service(node, args, { home: root, onLine: (line) => running.lines.push(line) }))
  }
  const stage: Stage = {
    nodes: running.nodes,
    lines: running.lines,
    async seen(what, wanted, times = 1) {
      await until(what, () => {
        for (const node of running.nodes.values()) {
          if (node.hasExited && !node.lines.some(({ last }) => last === true))
            throw new Error(`${node.name}: ${node.stderr}`)
        }
        return running.lines.filter(wanted).length >= times ? true : undefined
      })
    },
    async restart({ withPostgres = false } = {}) {
      await running.coordinator.kill()
      if (withPostgres) await killPostgres(dir)
      running.coordinator = serve(at, port)
      await portOf(running.coordinator)
    },
    async restartNode(node) {
      await running.nodes.get(node)?.kill()
      startNode(node)
    },
  }
  try {
    await portOf(running.coordinator)
    const startedAt = Date.now()
    for (const node of NODES) startNode(node.name)
    await succeed(['round', 'start', RUN, '--dir', dir])
    for (const disturb of disturbances) await disturb(stage)
    const codes = await Promise.all([...running.nodes.values()].map((node) => node.exited))
    const wallMs = Date.now() - startedAt
    expect(codes, [...running.nodes.values()].map(({ stderr }) => stderr).join('\n')).toEqual(NODES.map(() => 0))
    return { ...(await outcome(dir, running.lines)), wallMs }
  } finally {
    await Promise.all([...running.nodes.values()].map((node) => node.kill()))
    await running.coordinator.stop()
    await (await startEmbeddedPostgres(coordinatorPaths(dir).postgres)).stop()
    await rm(at, { recursive: true, force: true })
  }
}

/** The checkpoints, after checking that nothing which a node was told is accepted is missing in them. */
async function outcome(dir: string, lines: readonly Line[]) {
  const listed = await tapestryJson(roundsSchema, ['round', 'ls', RUN, '--dir', dir], { home: root })
  const rounds = listed.toSorted((a, b) => a.round - b.round)
  expect(rounds.map(({ phase, reason }) => ({ phase, reason }))).toEqual(
    Array.from({ length: ROUNDS }, () => ({ phase: 'published', reason: null })),
  )
  for (const { round } of rounds) {
    const args = ['models', 'show', `${RUN}@${round}`, '--from', `127.0.0.1:${port}`, '--trust', federation]
    const { manifest } = await tapestryJson(manifestSchema, args, { home: root })
    const merged = manifest.contributions.map(({ id }) => id)
    const told = lines.filter((line) => line['type'] === 'accepted' && line['round'] === round)
    expect(merged).toHaveLength(NODES.length)
    expect(merged).toEqual(expect.arrayContaining(told.map(({ contribution }) => contribution)))
  }
  return { digests: rounds.map(({ checkpointDigest }) => checkpointDigest) }
}

const inRound = (round: number, type: string, more: (line: Line) => boolean = () => true) => {
  return (line: Line) => line['type'] === type && line['round'] === round && more(line)
}
const inPhase = (round: number, phase: string) => inRound(round, 'round', (line) => line['phase'] === phase)

/** Kills the coordinator as soon as something has been seen. */
function killWhen(what: string, wanted: (line: Line) => boolean, times = 1, withPostgres = false): Disturbance {
  return async (stage) => {
    await stage.seen(what, wanted, times)
    await stage.restart({ withPostgres })
  }
}

/** Kills the coordinator some time after the last disturbance. */
function killAfter(ms: number): Disturbance {
  return async (stage) => {
    await new Promise((resolve) => setTimeout(resolve, ms))
    await stage.restart()
  }
}

const cases: { name: string; disturbances: () => readonly Disturbance[] }[] = [
  {
    name: 'killed as the first bytes arrive, and when the first contribution is in',
    disturbances: () => [
      killWhen('the first upload', inRound(1, 'uploading')),
      killWhen('the first acceptance', inRound(2, 'accepted')),
    ],
  },
  {
    name: 'killed while it merges, and while the candidate is judged',
    disturbances: () => [
      killWhen('the merge', inPhase(1, 'aggregating')),
      killWhen('the judging', inPhase(2, 'evaluating')),
    ],
  },
  {
    name: 'killed as it decides, and together with its database',
    disturbances: () => [
      killWhen('the last evaluation', inRound(1, 'evaluated'), NODES.length),
      killWhen('an acceptance', inRound(2, 'accepted'), 2, true),
    ],
  },
  {
    name: 'killed at three times that nobody chose',
    disturbances: () => {
      const random = randomFrom('kill times')
      return [0, 1, 2].map(() => killAfter(random.below(Math.ceil(undisturbed.wallMs / 2))))
    },
  },
  {
    name: 'with nodes that are killed in training and while they upload',
    disturbances: () => [
      async (stage) => {
        await stage.seen('training', inRound(1, 'training'))
        await stage.restartNode('one')
        await stage.seen('an upload', inRound(1, 'uploading'))
        await stage.restartNode('two')
      },
      async (stage) => {
        await stage.seen('an upload', inRound(2, 'uploading'))
        await stage.restartNode('three')
      },
    ],
  },
]

test.each(cases)('$name: the same checkpoints', async ({ name, disturbances }) => {
  const { digests } = await take(name, disturbances())
  expect(digests).toEqual(undisturbed.digests)
})
