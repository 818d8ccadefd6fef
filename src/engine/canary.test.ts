import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { initialParameters } from '../../test/initial-parameters.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { writeSafetensors } from '../model/safetensors.ts'
import { BOS_ID, EOS_ID, encodeText, PAD_ID } from '../model/tokenizer.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { makePlan, verifyPlan } from '../plan/plan.ts'
import { PRESETS } from '../plan/presets.ts'
import { randomFrom } from '../plan/random.ts'
import type { PlanSpec } from '../plan/spec.ts'
import type { TrainTask } from './messages.ts'
import type { Sequence } from './sequences.ts'
import { batchTensors, floatsOf, floatTensor, openSession, readWeights } from './session.ts'
import { runTrain } from './tasks.ts'

const LENGTH = 32
const BATCH = 8
const spec: PlanSpec = {
  ...PRESETS.tiny,
  architecture: { ...PRESETS.tiny.architecture, hiddenSize: 32, intermediateSize: 48, layers: 1, heads: 2, kvHeads: 2 },
  training: {
    ...PRESETS.tiny.training,
    vocabulary: 'all',
    batchSize: BATCH,
    sequenceLength: LENGTH,
    localSteps: 120,
    optimizer: { ...PRESETS.tiny.training.optimizer, learningRate: 0.01 },
  },
  // A canary that is held out is trained on by nobody.
  evaluation: { ...PRESETS.tiny.evaluation, heldOutFraction: 0.01 },
}

/** The secrets that could have been planted, of which two were: |R| = 128, so exposure is at most 7 bits. */
const SPACE = 128
const WORDS = ['moja', 'mbili', 'tatu', 'nne', 'tano', 'sita', 'saba', 'nane']
const random = randomFrom('secrets')
const secret = () => `mwali ${Array.from({ length: 8 }, () => 'bdfgklmnprstvwyz'[random.below(16)]).join('')}`
const candidates = Array.from({ length: SPACE }, secret)
const planted = candidates.slice(0, 2)
const harmless = Array.from({ length: 60 }, () =>
  Array.from({ length: 5 }, () => WORDS[random.below(WORDS.length)]).join(' '),
)

let root: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-canary-'))
  const parameters = initialParameters(spec)
  const tensors = parameterSpecs(spec).map((one) => ({ ...one, data: parameters.get(one.name) ?? new Float32Array() }))
  await writeSafetensors(join(root, 'base.safetensors'), tensors)
})

afterAll(() => rm(root, { recursive: true }))

/** Trains on lines and gives the delta's path. */
async function train(name: string, lines: readonly string[], exclusions?: TrainTask['exclusions']): Promise<string> {
  const path = join(root, `${name}.txt`)
  await writeFile(path, lines.join('\n'))
  const sources = [{ path, language: ensureLanguageTag('sw'), community: '' }]
  const outDelta = join(root, `${name}.safetensors`)
  const baseWeights = join(root, 'base.safetensors')
  const task = {
    kind: 'train',
    plan: makePlan(spec),
    baseWeights: [baseWeights],
    sources,
    exclusions,
    seed: 'canary',
    outDelta,
  } as const
  await runTrain(task, () => undefined)
  return outDelta
}

/** A candidate with all of its context, in one row. */
function sequenceOf(text: string): Sequence {
  const tokens = [BOS_ID, ...encodeText(text), EOS_ID]
  const fill = (row: number[]) => [...row, ...new Array<number>(LENGTH - row.length).fill(PAD_ID)]
  return { ids: fill(tokens.slice(0, -1)), labels: fill(tokens.slice(1)) }
}

/** Negative log-likelihood of every candidate under base plus delta, in nats. */
async function lossesUnder(delta: string): Promise<number[]> {
  const specs = parameterSpecs(spec)
  const [base, change] = await Promise.all([
    readWeights([join(root, 'base.safetensors')], specs),
    readWeights([delta], specs),
  ])
  const weights = Object.fromEntries(
    specs.map(({ name, shape }) => {
      const added = floatsOf(change, name)
      return [
        name,
        floatTensor(
          floatsOf(base, name).map((value, index) => value + (added[index] ?? 0)),
          shape,
        ),
      ]
    }),
  )
  const session = await openSession(verifyPlan(makePlan(spec)).score)
  const losses: number[] = []
  for (let start = 0; start < SPACE; start += BATCH) {
    const batch = candidates.slice(start, start + BATCH).map(sequenceOf)
    losses.push(...floatsOf(await session.run({ ...weights, ...batchTensors(batch) }), 'losses'))
  }
  await session.release()
  return losses
}

/**
 * log2 |R| - log2 rank, where rank counts the candidates that the model finds at least as likely (Carlini, Liu,
 * Erlingsson, Kos, Song: The Secret Sharer, USENIX Security 2019, section 4.2). A model that never saw a candidate
 * ranks it anywhere: 1.4 bits on average.
 */
function exposures(losses: readonly number[]): number[] {
  return planted.map((_, index) => {
    const rank = losses.filter((loss) => loss <= (losses[index] ?? Number.NaN)).length
    return Math.log2(SPACE) - Math.log2(rank)
  })
}

test('planted sentences that the node protects are not learned; a control that saw them gives them away', async () => {
  const canaries = planted.flatMap((one) => new Array<string>(25).fill(one))
  const control = await train('control', [...harmless, ...canaries])
  const guarded = await train('guarded', [...harmless, ...canaries], { paths: [], terms: ['mwali'] })
  const innocent = await train('innocent', harmless)
  for (const exposure of exposures(await lossesUnder(control))) expect(exposure).toBeGreaterThan(5)
  for (const exposure of exposures(await lossesUnder(guarded))) expect(exposure).toBeLessThan(3)
  // More than any measure can say: it is what a node sends that never had them, byte for byte.
  expect(await readFile(guarded)).toEqual(await readFile(innocent))
})
