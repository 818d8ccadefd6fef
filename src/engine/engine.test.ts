import { fork } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { initialParameters } from '../../test/initial-parameters.ts'
import { entryPoint } from '../core/entry-point.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { readSafetensors, writeSafetensors } from '../model/safetensors.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { makePlan } from '../plan/plan.ts'
import { PRESETS } from '../plan/presets.ts'
import type { PlanSpec } from '../plan/spec.ts'
import { runEngine } from './engine.ts'
import type { Progress, ScoreTask, TrainTask } from './messages.ts'

const { tiny } = PRESETS
const spec: PlanSpec = {
  ...tiny,
  architecture: { ...tiny.architecture, hiddenSize: 16, intermediateSize: 24, layers: 1, heads: 2, kvHeads: 1 },
  training: {
    ...tiny.training,
    vocabulary: 'all',
    batchSize: 4,
    sequenceLength: 32,
    localSteps: 30,
    optimizer: { ...tiny.training.optimizer, learningRate: 3e-3 },
  },
  evaluation: { heldOutFraction: 0.2, maxSequences: 10 },
}
const endless: PlanSpec = { ...spec, training: { ...spec.training, localSteps: 100_000 } }
const limits = { wallClockMs: 60_000, memoryMb: 4096 }
const withCode = (code: string) => expect.objectContaining({ code })

let root: string
let sources: TrainTask['sources']
let base: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-engine-'))
  base = join(root, 'base.safetensors')
  await writeWeights(base, spec)
  sources = await Promise.all(
    ['sw', 'zu'].map(async (tag) => {
      const path = join(root, `${tag}.txt`)
      await writeFile(path, Array.from({ length: 60 }, (_, index) => `${tag} ${tag} ${index * 37}`).join('\n'))
      return { path, language: ensureLanguageTag(tag), community: '' }
    }),
  )
})
afterAll(() => rm(root, { recursive: true }))

async function writeWeights(path: string, of: PlanSpec, factor = 1): Promise<void> {
  const parameters = initialParameters(of)
  const tensors = parameterSpecs(of).map((each) => ({
    ...each,
    data: parameters.get(each.name)!.map((x) => x * factor),
  }))
  await writeSafetensors(path, tensors)
}

function trainTask(change: Partial<TrainTask> = {}): TrainTask {
  const outDelta = join(root, 'delta.safetensors')
  return {
    kind: 'train',
    plan: makePlan(spec),
    baseWeights: [base],
    sources,
    seed: 'node-1 round 1',
    outDelta,
    ...change,
  }
}

describe('a train task', () => {
  test('learns, reports every language, and writes a delta that has the same bytes each time', async () => {
    const progress: Progress[] = []
    const [one, two, other] = ['one', 'two', 'other'].map((name) => join(root, `${name}.safetensors`))
    const result = await runEngine(trainTask({ outDelta: one! }), { limits, onProgress: (each) => progress.push(each) })
    expect(result.steps).toBe(30)
    expect(result.lossLast).toBeLessThan(result.lossFirst - 1)
    expect(result.lossFirst).toBeCloseTo(Math.log(259), 0)
    expect(result.languages.map(({ language }) => language)).toEqual(['sw', 'zu'])
    for (const { before, after, tokens, documents, heldOutTokens } of result.languages) {
      expect(after.mean).toBeLessThan(before.mean - 1)
      expect(after.tokens).toBe(before.tokens)
      expect(before.standardError).toBeGreaterThan(0)
      expect(tokens).toBeGreaterThan(30 * 2 * 32 * 0.8)
      expect(documents).toBeGreaterThan(30)
      expect(heldOutTokens).toBeGreaterThanOrEqual(before.tokens)
    }
    expect(progress.at(-1)).toMatchObject({ step: 30, steps: 30, loss: result.lossLast })

    await runEngine(trainTask({ outDelta: two! }), { limits })
    expect((await readFile(two!)).equals(await readFile(one!))).toBe(true)
    await runEngine(trainTask({ outDelta: other!, seed: 'node-2 round 1' }), { limits })
    expect((await readFile(other!)).equals(await readFile(one!))).toBe(false)
  })

  test('gives a delta that leads from the base to the weights that were measured', async () => {
    const task = trainTask()
    const result = await runEngine(task, { limits })
    const [from, delta] = [await readSafetensors(base), await readSafetensors(task.outDelta)]
    const trained = join(root, 'trained.safetensors')
    const tensors = [...from].map(([name, { dtype, shape, data }]) => {
      const change = delta.get(name)!.data
      return { name, dtype, shape, data: data.map((value, index) => value + change[index]!) }
    })
    await writeSafetensors(trained, tensors)
    const weights = [
      { name: 'base', files: [base] },
      { name: '__proto__', files: [trained] },
    ]
    const scored = await runEngine({ kind: 'score', plan: task.plan, weights, sources }, { limits })
    expect(scored.weights.map(({ name }) => name)).toEqual(['base', '__proto__'])
    result.languages.forEach(({ before, after, beforeSequences: sequences, language }, index) => {
      expect(scored.weights[0]!.languages[index]).toEqual({ language, community: '', ...before, sequences })
      expect(scored.weights[1]!.languages[index]!.mean).toBeCloseTo(after.mean, 5)
    })
  })

  test.each([
    [
      'another graph than it names',
      'VERIFICATION_FAILED',
      () => trainTask({ plan: { ...makePlan(spec), graphs: makePlan(tiny).graphs } }),
    ],
    ['other weights', 'VERIFICATION_FAILED', () => trainTask({ plan: makePlan(tiny) })],
    ['weights that are missing', 'VERIFICATION_FAILED', () => trainTask({ baseWeights: [join(root, 'missing')] })],
    ['weights that are not safetensors', 'VERIFICATION_FAILED', () => trainTask({ baseWeights: [sources[0]!.path] })],
    ['text that is missing', 'DATA_INVALID', () => trainTask({ sources: [{ ...sources[0]!, path: '/nowhere.txt' }] })],
    ['no text', 'DATA_INVALID', () => trainTask({ sources: [] })],
    [
      'a plan out of bounds',
      'INVALID_ARGUMENT',
      () => trainTask({ plan: { ...makePlan(spec), spec: { ...spec, seed: -1 } } }),
    ],
    ['a folder that is missing for the delta', 'NOT_FOUND', () => trainTask({ outDelta: join(root, 'no', 'delta') })],
  ])('with %s fails with %s', async (_, code, task) => {
    await expect(runEngine(task(), { limits })).rejects.toEqual(withCode(code))
  })

  test('fails when the weights are not finite, or the loss stops being a number', async () => {
    const path = join(root, 'broken.safetensors')
    await writeWeights(path, spec, Number.NaN)
    await expect(runEngine(trainTask({ baseWeights: [path] }), { limits })).rejects.toEqual(
      withCode('VERIFICATION_FAILED'),
    )
    await writeWeights(path, spec, 3e38)
    await expect(runEngine(trainTask({ baseWeights: [path] }), { limits })).rejects.toEqual(withCode('ENGINE_FAILED'))
  })
})

describe('a task that must be stopped', () => {
  const outDelta = () => join(root, 'never.safetensors')
  const task = () => trainTask({ plan: makePlan(endless), outDelta: outDelta() })

  test.each([
    ['takes too long', { limits: { ...limits, wallClockMs: 1500 } }],
    ['takes too much memory', { limits: { ...limits, memoryMb: 70 } }],
  ])('is killed when it %s', async (_, options) => {
    await expect(runEngine(task(), options)).rejects.toEqual(withCode('ENGINE_FAILED'))
    await expect(access(outDelta())).rejects.toThrow()
  })

  test('is killed when it is cancelled, before or during the work', async () => {
    await expect(runEngine(task(), { limits, signal: AbortSignal.abort() })).rejects.toEqual(withCode('ENGINE_FAILED'))
    const controller = new AbortController()
    const running = runEngine(task(), { limits, signal: controller.signal, onProgress: () => controller.abort() })
    await expect(running).rejects.toEqual(withCode('ENGINE_FAILED'))
    expect((await readdir(root)).filter((name) => name.includes('never'))).toEqual([])
  })

  test('ends by itself when its parent is gone', async () => {
    const child = fork(entryPoint('./engine-child', import.meta.url))
    child.send(task())
    await once(child, 'message')
    child.disconnect()
    const [code] = await once(child, 'exit')
    expect(code).toBe(1)
  })

  test('gives a code for a message that is no task', async () => {
    const child = fork(entryPoint('./engine-child', import.meta.url))
    child.send({ kind: 'shell', command: 'true' })
    const [reply] = await once(child, 'message')
    expect(reply).toMatchObject({ type: 'failed', code: 'INVALID_ARGUMENT' })
    await once(child, 'exit')
  })
})

test('a score task without weights scores nothing', async () => {
  const task: ScoreTask = { kind: 'score', plan: makePlan(spec), weights: [], sources }
  expect((await runEngine(task, { limits })).weights).toEqual([])
})
