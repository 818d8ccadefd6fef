import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  endEvaluation,
  enrol,
  handIn,
  sealedRound,
  TEST_PLAN,
  TEST_POLICY,
  type TestCoordinator,
  testCoordinator,
  testRun,
} from '../../test/rounds.ts'
import { replayInputs } from '../aggregation/replay.ts'
import type { RoundKey } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { runEngine } from '../engine/engine.ts'
import { parseManifest } from '../model/manifest.ts'
import { makePlan } from '../plan/plan.ts'
import { aggregate } from './aggregate.ts'
import { decide } from './decide.ts'
import type { Task } from './task.ts'
import { weightsOf } from './weights.ts'

const LIMITS = { wallClockMs: 120_000, memoryMb: 4096 }
const SW = ['watu', 'wote', 'wamezaliwa', 'huru', 'hadhi', 'haki', 'zao', 'sawa']
const HI = ['सभी', 'मनुष्य', 'जन्म', 'से', 'स्वतंत्र', 'और', 'समान', 'हैं']

let root: string
let coordinator: TestCoordinator
const spec = { ...TEST_PLAN.spec, evaluation: { heldOutFraction: 0.3, maxSequences: 64 } }
const plan = makePlan({
  ...spec,
  training: {
    ...spec.training,
    vocabulary: 'all',
    localSteps: 60,
    optimizer: { ...spec.training.optimizer, learningRate: 0.01 },
  },
})

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-test-gate-'))
  await writeFile(join(root, 'sw.txt'), textOf(SW))
  await writeFile(join(root, 'hi.txt'), textOf(HI))
  coordinator = await testCoordinator({ evaluationData: root })
  await enrol(coordinator, 3)
})

afterAll(async () => {
  await coordinator.close()
  await rm(root, { recursive: true, force: true })
})

function textOf(words: readonly string[]): string {
  const line = (n: number) =>
    Array.from({ length: 8 }, (_, i) => words[(n * 5 + i * (1 + (n % 7))) % words.length]).join(' ')
  return Array.from({ length: 60 }, (_, n) => `${line(n)} ${n}`).join('\n')
}

async function work(kind: 'aggregate' | 'decide', key: RoundKey): Promise<void> {
  const { context, signer, clock } = coordinator
  const job = await context.store.transact('lease', (tx) => tx.leaseJob([kind], clock.now(), 60_000))
  if (job === undefined || job.key.run !== key.run) throw new Error('no such job')
  const task: Task = { context, signer, job, signal: new AbortController().signal }
  await (kind === 'aggregate' ? aggregate(task) : decide(task))
}

async function roundOf(key: RoundKey) {
  const row = await coordinator.context.store.reader.round(key)
  if (row === undefined) throw new Error('no round')
  return row.round
}

/** What a node makes of the run's head with these texts, stored. */
async function trained(key: RoundKey, tags: readonly string[]) {
  const baseWeights = await weightsOf(coordinator.context, (await roundOf(key)).base)
  const sources = tags.map((tag) => ({
    path: join(root, `${tag}.txt`),
    language: ensureLanguageTag(tag),
    community: '',
  }))
  const outDelta = join(root, `${key.number}.safetensors`)
  await runEngine({ kind: 'train', plan, baseWeights, sources, seed: 1, outDelta }, { limits: LIMITS })
  return outDelta
}

it('releases what is better in every language, and blocks what is worse in one', { timeout: 240_000 }, async () => {
  const alone = { ...TEST_POLICY, target: 1, quorum: 1 }
  const run = await testRun(coordinator, 'gate', alone, plan)
  const first = await handIn(coordinator, run, (key) => trained(key, ['sw', 'hi']))
  await work('aggregate', first)
  await endEvaluation(coordinator, first)
  await work('decide', first)
  expect(await roundOf(first)).toMatchObject({ phase: 'published' })

  const second = await handIn(coordinator, run, (key) => trained(key, ['sw']))
  await work('aggregate', second)
  await endEvaluation(coordinator, second)
  await work('decide', second)
  const refused = await roundOf(second)
  expect(refused).toMatchObject({ phase: 'rejected', reason: expect.stringMatching(/^hi got worse by .* confidence$/) })
  const record = await coordinator.context.store.reader.gateRecord(second)
  expect(record?.languages.map(({ language, verdict }) => [language, verdict])).toEqual([
    ['hi', 'worse'],
    ['sw', 'better'],
    ['yo', 'unmeasured'],
  ])
  expect(record?.languages[0]?.evidence).toMatchObject({ method: 'bootstrap' })
})

it('gives weight 0 to what is below the floor, leaves it out of the merge, and says so in the manifest', async () => {
  const policy = { ...TEST_POLICY, influence: { ...TEST_POLICY.influence, floor: 'norms' as const } }
  const run = await testRun(coordinator, 'floor', policy)
  const key = await sealedRound(coordinator, run, [0, 0.001, -0.001])
  await work('aggregate', key)
  const rows = await coordinator.context.store.reader.contributions(key)
  expect(rows.map(({ weight }) => weight?.value)).toEqual([0, 0.5, 0.5])
  expect(rows[0]?.weight?.reason).toContain('changes nothing')
  expect(rows[1]?.weight?.decision).toMatchObject({ below: null, counts: true, wished: 0.5 })
  await endEvaluation(coordinator, key)
  await work('decide', key)
  const round = await roundOf(key)
  if (round.phase !== 'published') throw new Error(`the round is ${round.phase}`)
  const checkpoint = await coordinator.context.store.reader.checkpoint(round.checkpoint)
  const base = await coordinator.context.store.reader.checkpoint(round.base)
  const [manifest, before] = [checkpoint, base].map((row) => parseManifest(Buffer.from(row?.manifest ?? '', 'utf8')))
  if (manifest === undefined || before === undefined) throw new Error('no manifest')
  expect(manifest.contributions.map(({ weight }) => weight)).toEqual([0, 0.5, 0.5])
  expect(manifest.gate?.groups.map(({ language, verdict }) => [language, verdict])).toContainEqual(['yo', 'unmeasured'])
  const inputs = replayInputs(manifest, before).map(({ digest }) => digest)
  expect(inputs).not.toContain(rows[0]?.payload)
  expect(inputs).toContain(rows[1]?.payload)
})

it('fails a round of which the floor leaves too little, and names what was below', async () => {
  const policy = { ...TEST_POLICY, influence: { ...TEST_POLICY.influence, floor: 'norms' as const } }
  const run = await testRun(coordinator, 'copies', policy)
  const key = await sealedRound(coordinator, run, [0.1, 0.2, 0.3])
  await work('aggregate', key)
  expect(await roundOf(key)).toMatchObject({
    phase: 'failed',
    reason: expect.stringMatching(/left 1 of the 2 contributions needed.*once more/),
  })
})
