import { TapestryError } from '../core/error.ts'
import { runEngine } from '../engine/engine.ts'
import type { ScoredLanguage } from '../engine/messages.ts'
import { discoverSources } from '../engine/sources.ts'
import { parsePlan } from '../plan/plan.ts'
import type { EvaluatingRound } from '../round/round.ts'
import type { EvaluationRow, RunRow } from '../store/records.ts'
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
  const folder = context.config.evaluationData
  if (folder === undefined) return
  const stored = await context.store.reader.evaluations(job.key)
  if (stored.some(({ measuredBy }) => measuredBy === 'coordinator')) return
  const [base, candidate] = await score(task, run, round, folder)
  const at = context.clock.now()
  const rows = base.map((before): EvaluationRow => {
    const { language, community } = before
    const after = candidate.find((other) => other.language === language && other.community === community)
    if (after === undefined) throw new TapestryError('INTERNAL', `the candidate was not scored on ${language}`)
    const scores = { base: scoreOf(before), candidate: scoreOf(after) }
    return { key: job.key, measuredBy: 'coordinator', language, community, ...scores, report: null, at }
  })
  await context.store.transact('store-public-scores', (tx) => tx.putEvaluations(rows))
}

type Scored = readonly ScoredLanguage[]

async function score(task: Task, run: RunRow, round: EvaluatingRound, folder: string): Promise<[Scored, Scored]> {
  const { blobs, store } = task.context
  const base = await blobs.localPath(await weightsOf(store.reader, round.base))
  const candidate = await blobs.localPath(round.candidate)
  const weights = [
    { name: 'base', path: base },
    { name: 'candidate', path: candidate },
  ]
  const plan = parsePlan(Buffer.from(run.plan, 'utf8'))
  const sources = await discoverSources(folder)
  const result = await runEngine({ kind: 'score', plan, weights, sources }, { signal: task.signal, limits: LIMITS })
  const [first, second] = result.kind === 'score' ? result.weights : []
  if (first === undefined || second === undefined) throw new TapestryError('ENGINE_FAILED', 'the engine scored nothing')
  return [first.languages, second.languages]
}

function scoreOf({ mean, standardError, tokens }: ScoredLanguage) {
  return { mean, standardError, tokens }
}
