import type { LanguageTag } from '../core/language-tag.ts'
import { type EngineLimits, runEngine } from '../engine/engine.ts'
import type { ScoredLanguage as EngineScore, Progress, ScoreTask, TrainTask } from '../engine/messages.ts'
import type { LanguageReport } from '../model/contribution-manifest.ts'
import { ensureEngineTakes } from '../plan/budget.ts'
import type { Plan } from '../plan/plan.ts'

export type { Progress } from '../engine/messages.ts'

/**
 * A language as a trainer reports it. `beforeSequences`: mean loss of each held-out sequence of the base, which
 * never leaves the node; without it the node tells means only.
 */
export type TrainedLanguage = LanguageReport & { readonly beforeSequences?: readonly number[] | undefined }

/** What a trainer reports about its own work; the delta itself is at the task's `outDelta`. */
export type Trained = {
  /** One entry per language and community of the sources. */
  readonly languages: readonly TrainedLanguage[]
  /** Where the tokens came from: the names that the sources give their records. */
  readonly records: readonly { readonly record: string; readonly language: LanguageTag; readonly tokens: number }[]
  /** What the exclusions of the task left out. */
  readonly excluded: { readonly files: number; readonly documents: number }
  readonly steps: number
  readonly wallMs: number
}

/** Held-out losses of one language. `sequences` as the engine tells them; a trainer of one's own may leave them out. */
export type ScoredLanguage = Omit<EngineScore, 'sequences'> & Partial<Pick<EngineScore, 'sequences'>>

/** Held-out losses of one set of weights. */
export type Scored = { readonly name: string; readonly languages: readonly ScoredLanguage[] }

/**
 * How a node trains. The plan of every task has been verified. A node may bring its own: what counts is a delta with
 * the plan's tensors, trained from the base (with what the plan's proximal term or elastic force asks), honest scores on
 * text that was not trained on, and nothing of what the task excludes.
 */
export type Trainer = {
  /** Throws what is in the way of a plan that this trainer cannot train: asked before the node joins a round. Absent: it takes any. */
  readonly ensureTakes?: (plan: Plan) => void
  /**
   * Trains from `baseWeights` and writes trained minus base to `outDelta`, as F32 safetensors, whole or not at all.
   * @throws TapestryError DATA_INVALID, ENGINE_FAILED, DISK_FULL; anything when `signal` is aborted.
   */
  train(task: Omit<TrainTask, 'kind'>, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<Trained>
  /** Scores each set of weights on the held-out text of the sources, in the order of the task. @throws as `train`. */
  score(task: Omit<ScoreTask, 'kind'>, signal: AbortSignal): Promise<readonly Scored[]>
}

/** A day per task: rounds of slow members last that long. A machine of 8 GiB can run what the engine takes. */
const DEFAULT_LIMITS: EngineLimits = { wallClockMs: 24 * 3_600_000, memoryMb: 8192 }

/** The built-in trainer: a child process that rebuilds the plan's graphs and runs no other code. */
export function engineTrainer(limits: EngineLimits = DEFAULT_LIMITS): Trainer {
  return {
    ensureTakes: ({ spec }) => ensureEngineTakes(spec.architecture),
    async train(task, signal, onProgress) {
      const result = await runEngine({ kind: 'train', ...task }, { limits, signal, onProgress })
      const { languages, excluded, steps, wallMs } = result
      const reports = languages.map(({ heldOutTokens: _, records: __, ...report }) => report)
      const records = languages.flatMap(({ language, records }) => records.map((drawn) => ({ ...drawn, language })))
      return { languages: reports, records, excluded, steps, wallMs }
    },
    async score(task, signal) {
      const { weights } = await runEngine({ kind: 'score', ...task }, { limits, signal })
      return weights
    },
  }
}
