import { TapestryError } from '../core/error.ts'
import type { LlamaArchitecture } from '../model/llama-config.ts'
import { elementCount } from '../model/tensor.ts'
import { parameterShapes } from './parameters.ts'

/**
 * Most parameters of a plan: 2^34 in float32 are the 64 GiB that the largest artifact may have. The coordinator merges
 * out of core, and whoever trains may bring a trainer of their own.
 */
export const MAX_PARAMETERS = 2 ** 34

/**
 * Most parameters that the built-in engine takes: 2^27 in float32 are 512 MiB, and training keeps seven such copies at
 * most (base, weights, two moments, gradients, two in passing), so 3.5 GiB.
 */
export const MAX_ENGINE_PARAMETERS = 2 ** 27

/** Most bytes of activations in one training step; with the parameters, a machine of 8 GiB can run whatever the engine takes. */
export const MAX_ACTIVATION_BYTES = 4 * 2 ** 30

/** Copies that one layer keeps for the backward pass or holds in passing, counted in its graph. */
const HIDDEN_COPIES = 32
const INTERMEDIATE_COPIES = 8
const SCORE_COPIES = 5
const LOGIT_COPIES = 6
const FLOAT_BYTES = 4

type BatchShape = { readonly batchSize: number; readonly sequenceLength: number }

/** Number of parameters, embeddings included. */
export function parameterCount(architecture: LlamaArchitecture): number {
  return parameterShapes(architecture).reduce((sum, { shape }) => sum + elementCount(shape), 0)
}

/** Bytes of activations in one training step, from above: as if nothing were freed before the step ends. */
export function activationBytes(architecture: LlamaArchitecture, { batchSize, sequenceLength }: BatchShape): number {
  const { hiddenSize, intermediateSize, vocabSize, layers, heads } = architecture
  const tokens = batchSize * sequenceLength
  const perLayer = HIDDEN_COPIES * hiddenSize + INTERMEDIATE_COPIES * intermediateSize
  const scores = SCORE_COPIES * heads * sequenceLength
  return FLOAT_BYTES * tokens * (layers * (perLayer + scores) + LOGIT_COPIES * vocabSize)
}

/** What is too large about a plan, in one sentence; undefined when nothing is. */
export function overBudget(architecture: LlamaArchitecture, batch: BatchShape): string | undefined {
  const parameters = parameterCount(architecture)
  if (parameters > MAX_PARAMETERS) return `${parameters} parameters; at most ${MAX_PARAMETERS} are allowed`
  const bytes = activationBytes(architecture, batch)
  if (bytes > MAX_ACTIVATION_BYTES) {
    return `one step takes up to ${bytes} bytes of activations; at most ${MAX_ACTIVATION_BYTES} are allowed`
  }
  return undefined
}

/**
 * Bounds the memory of the built-in engine: no coordinator can make a node, or an operator make a coordinator, allocate
 * without limit. @throws TapestryError INVALID_ARGUMENT
 */
export function ensureEngineTakes(architecture: LlamaArchitecture): void {
  const parameters = parameterCount(architecture)
  if (parameters <= MAX_ENGINE_PARAMETERS) return
  const detail = `the plan has ${parameters} parameters; the built-in engine takes at most ${MAX_ENGINE_PARAMETERS}`
  throw new TapestryError('INVALID_ARGUMENT', detail, {
    hint: 'A run of this size needs nodes with a trainer of their own.',
  })
}
