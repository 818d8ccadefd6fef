import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import type { LlamaArchitecture } from '../model/llama-config.ts'
import { VOCABULARY_SIZE } from '../model/tokenizer.ts'
import { overBudget } from './budget.ts'

export const PLAN_FORMAT = 'tapestry-plan/1'

/** AdamW with linear warm-up and a global-norm clip; the learning rate is constant after the warm-up. */
export type AdamwSpec = {
  readonly kind: 'adamw'
  readonly learningRate: number
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  /** Decoupled, per step, times the learning rate; never applied to norms. */
  readonly weightDecay: number
  /** Steps over which the learning rate grows to its value; counted anew in every round. */
  readonly warmupSteps: number
  /** Largest L2 norm of the whole gradient. */
  readonly clipNorm: number
}

export type TrainingSpec = {
  /** Sequences per step. */
  readonly batchSize: number
  /** Tokens per sequence. */
  readonly sequenceLength: number
  /** Steps that a node takes in one round. */
  readonly localSteps: number
  /**
   * Which tokens compete in the training softmax. With `minShare`, a token below that share of the
   * node's own text competes only where it is the label: a node that hardly reads a script says
   * nothing about it, instead of unlearning it for everybody (restricted softmax for missing
   * classes: Li and Zhan, FedRS, KDD 2021).
   */
  readonly vocabulary: 'all' | { readonly minShare: number }
  /**
   * Adds mu / 2 |w - base|^2 to what a node minimises: FedProx (Li et al. 2020, arXiv:1812.06127, equation 2).
   * Absent: no such term.
   */
  readonly proximal?: { readonly mu: number } | undefined
  /**
   * A node goes on from its own weights, which after each round move by alpha of their distance to the base:
   * EASGD (Zhang et al. 2015, arXiv:1412.6651, equation 5). Absent: it starts each round from the base.
   */
  readonly elastic?: { readonly alpha: number } | undefined
  readonly optimizer: AdamwSpec
}

export type EvaluationSpec = {
  /** Share of a node's documents that is never trained on. */
  readonly heldOutFraction: number
  /** Most held-out sequences scored per language and community. */
  readonly maxSequences: number
}

/** What a run trains and how, in words: data from which every node rebuilds the same graphs. */
export type PlanSpec = {
  readonly format: typeof PLAN_FORMAT
  readonly architecture: LlamaArchitecture
  readonly training: TrainingSpec
  readonly evaluation: EvaluationSpec
  readonly tokenizer: 'bytes/1'
  /** Decides the initial weights and which documents are held out. */
  readonly seed: number
}

// Bounds of single numbers. The products that cost memory are bounded in budget.ts; these keep the
// products themselves, the number of graph nodes and the tables built from them small.

/** Wider than any Llama of under 10 billion parameters. */
const MAX_WIDTH = 8192
/** The graph grows with every layer: 128 layers are about 20,000 nodes. */
const MAX_LAYERS = 128
const MAX_HEADS = 128
/** The rotary table is a constant in the graph: 4,096 positions of 128 channels are 4 MiB. */
const MAX_SEQUENCE = 4096
const MAX_HEAD_SIZE = 256
const MAX_CONTEXT = 1_048_576
const MAX_BATCH = 1024
/** A round that takes more is days long; a node's own wall-clock limit is far below. */
const MAX_STEPS = 100_000
/** Beyond this a text's commonest bytes would be left out, and nothing could be learnt. */
const MAX_MIN_SHARE = 0.01
/** As of the strategy: more would only freeze the model. */
const MAX_PROXIMAL = 1000
const MAX_EVALUATION_SEQUENCES = 100_000

const size = (most: number) => z.int().min(1).max(most)
/** Denominators in float32: above its smallest normal number, far from rounding to zero. */
const smallPositive = z.number().min(1e-12).max(1)

const architectureSchema = z
  .strictObject({
    kind: z.literal('llama'),
    vocabSize: z.literal(VOCABULARY_SIZE),
    hiddenSize: size(MAX_WIDTH),
    intermediateSize: size(4 * MAX_WIDTH),
    layers: size(MAX_LAYERS),
    heads: size(MAX_HEADS),
    kvHeads: size(MAX_HEADS),
    contextLength: size(MAX_CONTEXT),
    normEpsilon: smallPositive,
    ropeTheta: z.number().min(1).max(1e9),
    tiedEmbeddings: z.boolean(),
  })
  .refine((a) => a.hiddenSize % a.heads === 0, 'hiddenSize must be a multiple of heads')
  .refine((a) => (a.hiddenSize / a.heads) % 2 === 0, 'the head size (hiddenSize / heads) must be even')
  .refine((a) => a.hiddenSize / a.heads <= MAX_HEAD_SIZE, `the head size may be at most ${MAX_HEAD_SIZE}`)
  .refine((a) => a.heads % a.kvHeads === 0, 'heads must be a multiple of kvHeads')

const optimizerSchema = z.strictObject({
  kind: z.literal('adamw'),
  learningRate: z.number().gt(0).max(1),
  beta1: z.number().min(0).max(0.9999),
  beta2: z.number().min(0).max(0.99999),
  epsilon: smallPositive,
  weightDecay: z.number().min(0).max(1),
  warmupSteps: z.int().min(0).max(MAX_STEPS),
  clipNorm: z.number().min(1e-6).max(1e6),
})

const specSchema: z.ZodType<PlanSpec> = z
  .strictObject({
    format: z.literal(PLAN_FORMAT),
    architecture: architectureSchema,
    training: z.strictObject({
      batchSize: size(MAX_BATCH),
      sequenceLength: size(MAX_SEQUENCE),
      localSteps: size(MAX_STEPS),
      vocabulary: z.union([z.literal('all'), z.strictObject({ minShare: z.number().gt(0).max(MAX_MIN_SHARE) })]),
      proximal: z.strictObject({ mu: z.number().gt(0).max(MAX_PROXIMAL) }).optional(),
      elastic: z.strictObject({ alpha: z.number().gt(0).max(1) }).optional(),
      optimizer: optimizerSchema,
    }),
    evaluation: z.strictObject({
      heldOutFraction: z.number().min(0.001).max(0.5),
      maxSequences: size(MAX_EVALUATION_SEQUENCES),
    }),
    tokenizer: z.literal('bytes/1'),
    seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  })
  .refine((spec) => spec.training.sequenceLength <= spec.architecture.contextLength, {
    message: 'sequenceLength must not exceed contextLength',
  })
  .superRefine((spec, context) => {
    const problem = overBudget(spec.architecture, spec.training)
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
  })

/**
 * Reads a plan's spec from parsed JSON. What it describes is bounded (see budget.ts); the built-in engine takes a part of
 * that, so that a coordinator cannot make a node allocate without limit.
 * @throws TapestryError INVALID_ARGUMENT naming the first field that is wrong.
 */
export function parsePlanSpec(json: unknown): PlanSpec {
  const result = specSchema.safeParse(json)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const place = issue && issue.path.length > 0 ? `${issue.path.map(String).join('.')}: ` : ''
  throw new TapestryError('INVALID_ARGUMENT', `not a plan: ${place}${issue?.message ?? 'unknown'}`.slice(0, 300))
}
