import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { keepsState } from '../aggregation/merge-round.ts'
import { type ModelFiles, mergeStep, type SteppedModel } from '../aggregation/merge-step.ts'
import type { Plan } from '../plan/plan.ts'
import type { AggregatingRound, EvaluatingRound } from '../round/round.ts'
import { advanceRound } from '../store/advance.ts'
import type { ContributionRow } from '../store/records.ts'
import { adoptWeights } from '../store/weights.ts'
import { excusedFrom } from './excused.ts'
import { type Weighed, weightEvents } from './ledger-events.ts'
import { judgeQuality } from './quality.ts'
import { finish, type Task } from './task.ts'
import { giveUpMerge, isMerged, shortfall, weigh } from './weigh.ts'
import { optimizerStateOf, weightsOf } from './weights.ts'

/**
 * Merges again what a revocation left of rounds: one after another onto the last clean base, each with weights
 * decided anew by the run's rules, each going on from the optimizer's state that the one before left. What comes out
 * is the candidate of the revision. A round that the quality floor leaves too little of is passed over, as it would
 * have failed. Every step is made again when the job is: the same rows give the same bytes.
 * @throws TapestryError as `mergeRound`; NOT_FOUND for a blob that is gone; DISK_FULL
 */
export async function remerge(task: Task, plan: Plan, round: AggregatingRound): Promise<void> {
  const { context, job } = task
  const steps = byRound(await context.store.reader.remerged(job.key))
  const scratch = await context.blobs.scratch()
  try {
    let model: SteppedModel = { ...(await baseFiles(task, round)), written: [] }
    const merged: Weighed[][] = []
    for (const [index, rows] of steps.entries()) {
      const step = await decideStep(task, plan, round, model, rows)
      if (step === undefined) continue
      merged.push(step)
      const next = await mergeOne(task, round, model, step, join(scratch, String(index)))
      const [made] = model.written
      if (made !== undefined) await rm(dirname(made.path), { recursive: true, force: true })
      model = next
    }
    if (merged.length === 0) return await giveUpMerge(task, 'the quality floor left nothing to merge again')
    await record(task, merged, await adopt(task, model))
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** @param rows in order of round */
function byRound(rows: readonly ContributionRow[]): ContributionRow[][] {
  const rounds = [...new Set(rows.map(({ key }) => key.number))]
  return rounds.map((round) => rows.filter(({ key }) => key.number === round))
}

async function baseFiles({ context }: Task, { base, policy }: AggregatingRound): Promise<ModelFiles> {
  const { blobs, store } = context
  const state = keepsState(policy.strategy) ? await optimizerStateOf(store.reader, base) : undefined
  return {
    weights: await weightsOf(context, base),
    state: state && (await blobs.localPath(state)),
  }
}

async function decideStep(
  task: Task,
  plan: Plan,
  { policy }: AggregatingRound,
  { weights: base }: ModelFiles,
  rows: readonly ContributionRow[],
): Promise<Weighed[] | undefined> {
  const quality = await judgeQuality(task, plan, { base, policy }, rows)
  if (shortfall(policy, rows, quality) !== undefined) return undefined
  return weigh(task, plan, policy, rows, quality)
}

async function mergeOne(
  { context, signal }: Task,
  { policy: { strategy, codec, shardBytes } }: AggregatingRound,
  model: ModelFiles,
  step: readonly Weighed[],
  directory: string,
): Promise<SteppedModel> {
  const deltas = step.filter(isMerged).map(async ({ row, weight }) => {
    return { path: await context.blobs.localPath(row.payload), weight: weight.value }
  })
  return mergeStep(model, await Promise.all(deltas), directory, { strategy, codec, shardBytes, signal })
}

type Candidate = Pick<EvaluatingRound, 'candidate' | 'shards' | 'optimizerState'>

async function adopt({ context: { blobs } }: Task, { written, state }: SteppedModel): Promise<Candidate> {
  const { digest, shards } = await adoptWeights(blobs, written)
  const optimizerState = state === undefined ? null : (await blobs.adopt(state)).digest
  return { candidate: digest, ...(shards.length > 0 && { shards }), optimizerState }
}

async function record({ context, job }: Task, steps: readonly Weighed[][], made: Candidate): Promise<void> {
  const now = context.clock.now()
  await context.store.transact('record-remerge', async (tx) => {
    await finish(tx, job, now)
    for (const { row, weight } of steps.flat()) await tx.setRemergeWeight(job.key, row.id, weight)
    const events = steps.flatMap((step) => weightEvents(job.key, made.candidate, step))
    for (const event of events) await tx.appendToLedger(event, now)
    const excused = await excusedFrom(tx, job.key)
    await advanceRound(tx, job.key, { type: 'candidate-written', ...made, excused }, now)
  })
  context.log.info({ job: job.id, candidate: made.candidate, steps: steps.length }, 'merged again')
}
