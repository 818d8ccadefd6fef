import type { ServerConfig } from '../config.ts'
import { TapestryError } from '../core/error.ts'
import { runEngine } from '../engine/engine.ts'
import type { ScoredLanguage } from '../engine/messages.ts'
import { type DataSource, discoverSources } from '../engine/sources.ts'
import { pairedEvidence } from '../model/paired-evidence.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import { type Plan, parsePlan } from '../plan/plan.ts'
import type { EvaluatingRound } from '../round/round.ts'
import type { EvaluationRow, RunRow } from '../store/records.ts'
import { localWeights } from '../store/weights.ts'
import type { Task } from './task.ts'
import { weightsOf } from './weights.ts'

/** Scoring reads a bounded number of sequences a language: what takes longer hangs. */
const LIMITS = { wallClockMs: 3_600_000, memoryMb: 8_192 }

/**
 * Scores base and candidate on the operator's public evaluation sets, in a child process, and stores
 * the result as measured by `coordinator`. Without sets, or when an earlier attempt has stored its
 * scores, there is nothing to do. Sets that cannot be read fail the job: a gate that the operator
 * set up must not open because its folder is gone.
 * @throws TapestryError DATA_INVALID naming the file; ENGINE_FAILED; NOT_FOUND for a missing blob.
 */
export async function measurePublicSets(task: Task, run: RunRow, round: EvaluatingRound): Promise<void> {
  const { context, job } = task
  const stored = await context.store.reader.evaluations(job.key)
  if (stored.some(({ measuredBy }) => measuredBy === 'coordinator')) return
  const sources = await publicSets(context.config)
  if (sources === undefined) return
  const weights = [await weightsOf(context, round.base), await localWeights(context.blobs, round.candidate)]
  const plan = parsePlan(Buffer.from(run.plan, 'utf8'))
  const [before, after] = await scorePublicSets(task, plan, weights, sources)
  const at = context.clock.now()
  const rows = publicEvidence(before ?? [], after ?? []).map(
    (evidence): EvaluationRow => ({ key: job.key, measuredBy: 'coordinator', ...evidence, report: null, at }),
  )
  await context.store.transact('store-public-scores', (tx) => tx.putEvaluations(rows))
}

/** The operator's public sets; undefined when there are none. @throws TapestryError DATA_INVALID */
export async function publicSets({ evaluationData }: ServerConfig): Promise<readonly DataSource[] | undefined> {
  return evaluationData === undefined ? undefined : discoverSources(evaluationData)
}

/** Scores each set of weights. @throws TapestryError ENGINE_FAILED; DATA_INVALID */
export async function scorePublicSets(
  task: Task,
  plan: Plan,
  weights: readonly WeightFiles[],
  sources: readonly DataSource[],
): Promise<readonly (readonly ScoredLanguage[])[]> {
  const named = weights.map((files, index) => ({ name: `${index}`, files }))
  const result = await runEngine(
    { kind: 'score', plan, weights: named, sources },
    { signal: task.signal, limits: LIMITS },
  )
  const scored = result.weights.map(({ languages }) => languages)
  if (scored.length < weights.length) throw new TapestryError('ENGINE_FAILED', 'the engine scored too little')
  return scored
}

/** Pairs what two sets of weights scored on the same text. @throws TapestryError INTERNAL when a language is missing */
export function publicEvidence(before: readonly ScoredLanguage[], after: readonly ScoredLanguage[]) {
  return before.map((base) => {
    const { language, community } = base
    const other = after.find((one) => one.language === language && one.community === community)
    if (other === undefined) throw new TapestryError('INTERNAL', `only the base was scored on ${language}`)
    const paired = pairedEvidence(base.sequences, other.sequences) ?? null
    return { language, community, base: scoreOf(base), candidate: scoreOf(other), paired }
  })
}

function scoreOf({ mean, standardError, tokens }: ScoredLanguage) {
  return { mean, standardError, tokens }
}
