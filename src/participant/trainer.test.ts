import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { initialParameters } from '../../test/initial-parameters.ts'
import { inspectDelta } from '../../test/inspect-delta.ts'
import { digestOf } from '../core/digest.ts'
import { ensureFederationId, ensureNodeId, ensureRunId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { contributionManifestBytes, parseContributionManifest } from '../model/contribution-manifest.ts'
import { writeSafetensors } from '../model/safetensors.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { makePlan } from '../plan/plan.ts'
import { PRESETS } from '../plan/presets.ts'
import { engineTrainer } from './trainer.ts'

const spec = {
  ...PRESETS.tiny,
  architecture: { ...PRESETS.tiny.architecture, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2, kvHeads: 2 },
  training: { ...PRESETS.tiny.training, batchSize: 2, sequenceLength: 32, localSteps: 2 },
  evaluation: { heldOutFraction: 0.2, maxSequences: 4 },
}

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tapestry-trainer-'))
})

afterEach(() => rm(directory, { recursive: true }))

describe('the built-in trainer', () => {
  it('gives what a node can sign and a coordinator accepts', async () => {
    const plan = makePlan(spec)
    const parameters = initialParameters(spec)
    const baseWeights = join(directory, 'base.safetensors')
    const outDelta = join(directory, 'delta.safetensors')
    const text = join(directory, 'sw.txt')
    const tensors = parameterSpecs(spec).map((one) => ({
      ...one,
      data: parameters.get(one.name) ?? new Float32Array(),
    }))
    await writeSafetensors(baseWeights, tensors)
    await writeFile(text, Array.from({ length: 20 }, (_, line) => `Watu wote wamezaliwa huru, ${line}\n`).join(''))
    const sources = [{ path: text, language: ensureLanguageTag('sw'), community: 'Lamu' }]
    const trainer = engineTrainer()
    const { signal } = new AbortController()
    const steps: number[] = []
    const task = { plan, baseWeights: [baseWeights], sources, seed: 'seed', outDelta }
    const trained = await trainer.train(task, signal, ({ step }) => steps.push(step))
    expect(trained.steps).toBe(2)
    const bytes = contributionManifestBytes({
      federation: ensureFederationId(digestOf('federation')),
      run: ensureRunId('demo'),
      round: 1,
      node: ensureNodeId(`node-${'0'.repeat(32)}`),
      baseDigest: digestOf('base'),
      payloadDigest: digestOf('payload'),
      payloadBytes: 1,
      nonce: '0'.repeat(32),
      // What never leaves the node is for the evaluation to come.
      languages: trained.languages.map(({ beforeSequences: _, ...language }) => language),
    })
    expect(parseContributionManifest(bytes).ok).toBe(true)
    expect((await inspectDelta(outDelta, parameterSpecs(spec), { maxNorm: 0 })).ok).toBe(true)
    const [scored] = await trainer.score({ plan, weights: [{ name: 'base', files: [baseWeights] }], sources }, signal)
    const { language, community, sequences, ...score } = scored?.languages[0] ?? {}
    expect({ language, community }).toEqual({ language: 'sw', community: 'Lamu' })
    expect(score).toEqual(trained.languages[0]?.before)
    expect(sequences).toEqual(trained.languages[0]?.beforeSequences)
  })

  it('stops when told', async () => {
    const task = { plan: makePlan(spec), baseWeights: [], sources: [], seed: '', outDelta: '' }
    await expect(engineTrainer().train(task, AbortSignal.abort(), () => undefined)).rejects.toThrow()
  })
})
