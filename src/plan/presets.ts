import { VOCABULARY_SIZE } from '../model/tokenizer.ts'
import { PLAN_FORMAT, type PlanSpec } from './spec.ts'

type Dimensions = {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly localSteps: number
}

const HEADS = 4
const SEQUENCE_LENGTH = 128
/** Nodes whose scripts have nothing in common must stay close enough to be averaged: at 3e-3 the tiny model's do not always. */
const LEARNING_RATE = 1e-3

function preset({ hiddenSize, intermediateSize, layers, localSteps }: Dimensions): PlanSpec {
  return {
    format: PLAN_FORMAT,
    architecture: {
      kind: 'llama',
      vocabSize: VOCABULARY_SIZE,
      hiddenSize,
      intermediateSize,
      layers,
      heads: HEADS,
      kvHeads: HEADS,
      contextLength: SEQUENCE_LENGTH,
      normEpsilon: 1e-5,
      ropeTheta: 10_000,
      tiedEmbeddings: true,
    },
    training: {
      batchSize: 8,
      sequenceLength: SEQUENCE_LENGTH,
      localSteps,
      vocabulary: { minShare: 0.001 },
      optimizer: {
        kind: 'adamw',
        learningRate: LEARNING_RATE,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weightDecay: 0.1,
        warmupSteps: 10,
        clipNorm: 1,
      },
    },
    evaluation: { heldOutFraction: 0.1, maxSequences: 64 },
    tokenizer: 'bytes/1',
    seed: 1,
  }
}

/** Named specs to start from. Parameter counts: tiny 0.21 million, small 0.82 million, base 4.8 million. */
export const PRESETS = {
  tiny: preset({ hiddenSize: 64, intermediateSize: 172, layers: 4, localSteps: 40 }),
  small: preset({ hiddenSize: 128, intermediateSize: 344, layers: 4, localSteps: 40 }),
  base: preset({ hiddenSize: 256, intermediateSize: 688, layers: 6, localSteps: 40 }),
} as const satisfies Record<string, PlanSpec>

export type PresetName = keyof typeof PRESETS
