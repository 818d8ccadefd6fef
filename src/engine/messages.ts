import { z } from 'zod'
import { isErrorCode } from '../core/error.ts'
import { ensureLanguageTag, type LanguageTag } from '../core/language-tag.ts'
import { branded } from '../model/parsing.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import { ensurePlan, type Plan } from '../plan/plan.ts'
import type { Exclusions } from './exclusions.ts'
import type { DataSource } from './sources.ts'

/** Mean loss over held-out text: nats per token, its standard error over sequences, tokens scored. */
export type Score = { readonly mean: number; readonly standardError: number; readonly tokens: number }

/** Where a node of an elastic plan keeps its own weights: those it goes on from, and those it will. */
export type ElasticFiles = { readonly start?: string | undefined; readonly out: string }

export type TrainTask = {
  readonly kind: 'train'
  readonly plan: Plan
  /** The weights to start from: a safetensors file, or several that each hold a part of the tensors. */
  readonly baseWeights: WeightFiles
  readonly sources: readonly DataSource[]
  readonly exclusions?: Exclusions | undefined
  /** Decides the order of the data; specific to node and round. */
  readonly seed: number | string
  /** Where to write trained minus base, as F32 safetensors. */
  readonly outDelta: string
  /** For a plan with an elastic force. */
  readonly elastic?: ElasticFiles | undefined
}

export type ScoreTask = {
  readonly kind: 'score'
  readonly plan: Plan
  readonly weights: readonly { readonly name: string; readonly files: WeightFiles }[]
  readonly sources: readonly DataSource[]
  readonly exclusions?: Exclusions | undefined
}

export type EngineTask = TrainTask | ScoreTask

/** Wall time and the largest resident memory of the child process. */
type Usage = { readonly wallMs: number; readonly peakRssMb: number }

export type TrainedLanguage = {
  readonly language: LanguageTag
  readonly community: string
  /** Tokens trained on, repetitions included. */
  readonly tokens: number
  /** Documents trained on, each once. */
  readonly documents: number
  /** Tokens of all documents that are held out; `before` and `after` may have scored a part of them. */
  readonly heldOutTokens: number
  readonly before: Score
  readonly after: Score
  /** Mean loss of each scored sequence before training, nats per token: for comparing with other weights later. */
  readonly beforeSequences: readonly number[]
  /** Those of the tokens that belong to a record, by record. */
  readonly records: readonly { readonly record: string; readonly tokens: number }[]
}

export type TrainResult = Usage & {
  readonly kind: 'train'
  readonly languages: readonly TrainedLanguage[]
  /** What the exclusions left out. */
  readonly excluded: { readonly files: number; readonly documents: number }
  readonly steps: number
  readonly lossFirst: number
  readonly lossLast: number
}

export type ScoredLanguage = Score & {
  readonly language: LanguageTag
  readonly community: string
  /** Mean loss of each scored sequence, nats per token; the same text in the same order for every set of weights. */
  readonly sequences: readonly number[]
}

export type ScoreResult = Usage & {
  readonly kind: 'score'
  /** One entry per weights, in the order of the task. */
  readonly weights: readonly { readonly name: string; readonly languages: readonly ScoredLanguage[] }[]
}

export type EngineResult = TrainResult | ScoreResult

/** `loss` is the mean of the latest batch, nats per token. */
export type Progress = {
  readonly step: number
  readonly steps: number
  readonly loss: number
  readonly tokensPerSecond: number
}

const language = branded(ensureLanguageTag)
/** Throws what is wrong with the plan, which says more than a failed parse. */
const plan = z.unknown().transform((json) => ensurePlan(json))
const sources = z
  .array(z.strictObject({ path: z.string(), language, community: z.string(), record: z.string().optional() }))
  .readonly()
const files = z.array(z.string()).min(1)
const exclusions = z.strictObject({ paths: z.array(z.string()), terms: z.array(z.string()) }).optional()

const taskSchema: z.ZodType<EngineTask> = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('train'),
    plan,
    baseWeights: files,
    sources,
    exclusions,
    seed: z.union([z.number(), z.string()]),
    outDelta: z.string(),
    elastic: z.strictObject({ start: z.string().optional(), out: z.string() }).optional(),
  }),
  z.strictObject({
    kind: z.literal('score'),
    plan,
    weights: z.array(z.strictObject({ name: z.string(), files })),
    sources,
    exclusions,
  }),
])

const number = z.number()
const score = { mean: number, standardError: number, tokens: number }
const corpus = { language, community: z.string() }
const usage = { wallMs: number, peakRssMb: number }

const trainResult: z.ZodType<TrainResult> = z.strictObject({
  kind: z.literal('train'),
  languages: z.array(
    z.strictObject({
      ...corpus,
      tokens: number,
      documents: number,
      heldOutTokens: number,
      before: z.strictObject(score),
      after: z.strictObject(score),
      beforeSequences: z.array(number),
      records: z.array(z.strictObject({ record: z.string(), tokens: number })),
    }),
  ),
  excluded: z.strictObject({ files: number, documents: number }),
  steps: number,
  lossFirst: number,
  lossLast: number,
  ...usage,
})

const scoreResult: z.ZodType<ScoreResult> = z.strictObject({
  kind: z.literal('score'),
  weights: z.array(
    z.strictObject({
      name: z.string(),
      languages: z.array(z.strictObject({ ...corpus, ...score, sequences: z.array(number) })),
    }),
  ),
  ...usage,
})

/** What the child says: progress any number of times, then one result or one failure. */
const replySchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('progress'), step: number, steps: number, loss: number, tokensPerSecond: number }),
  z.strictObject({ type: z.literal('trained'), result: trainResult }),
  z.strictObject({ type: z.literal('scored'), result: scoreResult }),
  z.strictObject({
    type: z.literal('failed'),
    code: z.string().refine(isErrorCode),
    message: z.string(),
    hint: z.string().optional(),
  }),
])

export type Reply = z.infer<typeof replySchema>

/** Undefined for anything that is not a task. @throws TapestryError INVALID_ARGUMENT for a plan out of bounds. */
export function parseTask(message: unknown): EngineTask | undefined {
  return taskSchema.safeParse(message).data
}

/** Undefined for anything that is not a reply. */
export function parseReply(message: unknown): Reply | undefined {
  return replySchema.safeParse(message).data
}
