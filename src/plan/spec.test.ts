import { describe, expect, test } from 'vitest'
import {
  activationBytes,
  ensureEngineTakes,
  MAX_ACTIVATION_BYTES,
  MAX_ENGINE_PARAMETERS,
  MAX_PARAMETERS,
  parameterCount,
} from './budget.ts'
import { PRESETS } from './presets.ts'
import { parsePlanSpec } from './spec.ts'

const { tiny } = PRESETS
const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })

const architecture = (change: object) => ({ ...tiny, architecture: { ...tiny.architecture, ...change } })
const training = (change: object) => ({ ...tiny, training: { ...tiny.training, ...change } })
const optimizer = (change: object) => training({ optimizer: { ...tiny.training.optimizer, ...change } })

describe('parsePlanSpec', () => {
  test.each(['tiny', 'small', 'base'] as const)('accepts the preset %s', (name) => {
    expect(parsePlanSpec(JSON.parse(JSON.stringify(PRESETS[name])))).toEqual(PRESETS[name])
  })

  test('accepts grouped-query attention and untied embeddings', () => {
    expect(() => parsePlanSpec(architecture({ kvHeads: 2, tiedEmbeddings: false }))).not.toThrow()
  })

  test.each([
    ['nothing', undefined],
    ['an unknown member', { ...tiny, code: '' }],
    ['a missing member', { ...tiny, seed: undefined }],
    ['another format', { ...tiny, format: 'tapestry-plan/2' }],
    ['another architecture', architecture({ kind: 'loop' })],
    ['another vocabulary than the tokenizer', architecture({ vocabSize: 258 })],
    ['a width that is a fraction', architecture({ hiddenSize: 64.5 })],
    ['a negative width', architecture({ hiddenSize: -64 })],
    ['a huge width', architecture({ hiddenSize: 1e12 })],
    ['a huge intermediate width', architecture({ intermediateSize: 1e9 })],
    ['no layers', architecture({ layers: 0 })],
    ['too many layers', architecture({ layers: 100_000 })],
    ['heads that do not divide the width', architecture({ heads: 5, kvHeads: 5 })],
    ['an odd head size', architecture({ hiddenSize: 60, heads: 4 })],
    ['a head that is too large', architecture({ hiddenSize: 1024, heads: 2, kvHeads: 2 })],
    ['key heads that do not divide the heads', architecture({ kvHeads: 3 })],
    ['NaN', architecture({ normEpsilon: Number.NaN })],
    ['infinity', architecture({ ropeTheta: Number.POSITIVE_INFINITY })],
    ['an epsilon that float32 cannot hold', architecture({ normEpsilon: 1e-50 })],
    ['a huge batch', training({ batchSize: 1e9 })],
    ['an endless round', training({ localSteps: 1e9 })],
    ['sequences beyond the context', training({ sequenceLength: 129 })],
    ['another optimizer', optimizer({ kind: 'sgd' })],
    ['a learning rate of zero', optimizer({ learningRate: 0 })],
    ['a beta of one', optimizer({ beta1: 1 })],
    ['a clip of zero', optimizer({ clipNorm: 0 })],
    ['nothing held out', { ...tiny, evaluation: { ...tiny.evaluation, heldOutFraction: 0 } }],
    ['another tokenizer', { ...tiny, tokenizer: 'https://example.org/tokenizer.json' }],
    ['a seed beyond exact integers', { ...tiny, seed: 2 ** 53 }],
  ])('refuses %s', (_, json) => {
    expect(() => parsePlanSpec(json)).toThrow(refused)
  })

  test('bounds the parameters though every number is allowed by itself', () => {
    const large = architecture({ hiddenSize: 8192, intermediateSize: 32768, layers: 16, heads: 128, kvHeads: 128 })
    expect(parameterCount(large.architecture)).toBeGreaterThan(MAX_PARAMETERS)
    expect(() => parsePlanSpec(large)).toThrow(refused)
  })

  test('tells what the engine takes from what a plan may describe', () => {
    const width = { hiddenSize: 1024, intermediateSize: 4096, layers: 16, heads: 16, kvHeads: 16 }
    const large = { ...architecture(width), training: { ...tiny.training, batchSize: 1 } }
    expect(parameterCount(large.architecture)).toBeGreaterThan(MAX_ENGINE_PARAMETERS)
    expect(parsePlanSpec(large)).toEqual(large)
    expect(() => ensureEngineTakes(large.architecture)).toThrow(refused)
    ensureEngineTakes(tiny.architecture)
  })

  test('bounds the activations though every number is allowed by itself', () => {
    const large = training({ batchSize: 1024 })
    expect(activationBytes(large.architecture, large.training)).toBeGreaterThan(MAX_ACTIVATION_BYTES)
    expect(() => parsePlanSpec(large)).toThrow(refused)
  })

  test('takes no time over the largest numbers', () => {
    const json = architecture({ hiddenSize: 8192, layers: 128, intermediateSize: 32768, heads: 128, kvHeads: 128 })
    expect(() => parsePlanSpec(json)).toThrow(refused)
  })
})
