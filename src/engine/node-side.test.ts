import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { initialParameters } from '../../test/initial-parameters.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { readSafetensors, writeSafetensors } from '../model/safetensors.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { makePlan } from '../plan/plan.ts'
import { PRESETS } from '../plan/presets.ts'
import type { PlanSpec } from '../plan/spec.ts'
import type { TrainTask } from './messages.ts'
import { runTrain } from './tasks.ts'

const { tiny } = PRESETS
const spec: PlanSpec = {
  ...tiny,
  architecture: { ...tiny.architecture, hiddenSize: 8, intermediateSize: 12, layers: 1, heads: 2, kvHeads: 1 },
  training: { ...tiny.training, vocabulary: 'all', batchSize: 2, sequenceLength: 24, localSteps: 20 },
  evaluation: { heldOutFraction: 0.2, maxSequences: 2 },
}

let root: string
let sources: TrainTask['sources']
let base: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-node-side-'))
  base = join(root, 'base.safetensors')
  const initial = initialParameters(spec)
  await writeSafetensors(
    base,
    parameterSpecs(spec).map((one) => ({ ...one, data: initial.get(one.name)! })),
  )
  const path = join(root, 'sw.txt')
  await writeFile(path, Array.from({ length: 40 }, (_, line) => `Watu wote wamezaliwa huru ${line}`).join('\n'))
  sources = [{ path, language: ensureLanguageTag('sw'), community: '' }]
})
afterAll(() => rm(root, { recursive: true }))

async function flat(path: string): Promise<Float64Array> {
  const tensors = [...(await readSafetensors(path))].sort(([a], [b]) => (a < b ? -1 : 1))
  return Float64Array.from(tensors.flatMap(([, { data }]) => [...data]))
}

/** Trains once. @returns the delta, flat */
async function deltaOf(name: string, change: Partial<PlanSpec['training']>, elastic?: TrainTask['elastic']) {
  const plan = makePlan({ ...spec, training: { ...spec.training, ...change } })
  const outDelta = join(root, `${name}.delta`)
  await runTrain({ kind: 'train', plan, baseWeights: [base], sources, seed: 'one', outDelta, elastic }, () => undefined)
  return flat(outDelta)
}

const norm = (values: Float64Array) => Math.hypot(...values)

describe('FedProx', () => {
  test('the larger mu, the smaller the delta', async () => {
    const plain = await deltaOf('plain', {})
    const held = []
    for (const mu of [0.1, 1, 10, 1000]) held.push(norm(await deltaOf(`mu-${mu}`, { proximal: { mu } })))
    const norms = [norm(plain), ...held]
    expect(norms).toEqual([...norms].sort((a, b) => b - a))
    expect(new Set(norms).size).toBe(norms.length)
    expect(norms.at(-1)).toBeLessThan(0.5 * norm(plain))
  })
})

describe('EASGD', () => {
  const alpha = 0.25

  test('a node keeps what is left of its distance to the base, and goes on from there', async () => {
    const out = join(root, 'own')
    const center = await flat(base)
    const first = await deltaOf('first', { elastic: { alpha } }, { out })
    expect(first).toEqual(await deltaOf('as usual', {}))
    const own = await flat(out)
    first.forEach((change, j) => {
      expect(own[j]).toBeCloseTo(center[j]! + (1 - alpha) * change, 6)
    })

    const second = await deltaOf('second', { elastic: { alpha } }, { start: out, out: join(root, 'next') })
    // The delta is the distance of its own trained weights to the base: more than one round's training.
    expect(norm(second)).toBeGreaterThan(1.1 * norm(first))
    const next = await flat(join(root, 'next'))
    second.forEach((distance, j) => {
      expect(next[j]).toBeCloseTo(center[j]! + (1 - alpha) * distance, 6)
    })
  })

  test('a node whose own weights are damaged starts from the base', async () => {
    const damaged = join(root, 'damaged')
    await writeFile(damaged, 'not weights')
    const delta = await deltaOf('again', { elastic: { alpha } }, { start: damaged, out: join(root, 'own again') })
    expect(delta).toEqual(await flat(join(root, 'first.delta')))
  })
})
