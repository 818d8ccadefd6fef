import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { diagnose } from '../aggregation/diagnostics.ts'
import { keepsState, mergeRound, type RoundResult } from '../aggregation/merge-round.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { type Plan, parsePlan } from '../plan/plan.ts'
import { byNode } from '../policy/influence.ts'
import type { AggregatingRound } from '../round/round.ts'
import { advanceRound, requireRound } from '../store/advance.ts'
import type { LeasedJob } from '../store/job-row.ts'
import type { ContributionRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { adoptWeights, type StoredWeights } from '../store/weights.ts'
import { excusedFrom } from './excused.ts'
import { type Weighed, weightEvents } from './ledger-events.ts'
import { judgeQuality } from './quality.ts'
import { remerge } from './remerge.ts'
import { finish, subjectOf, type Task } from './task.ts'
import { giveUpMerge, isMerged, shortfall, weigh } from './weigh.ts'
import { optimizerStateOf, weightsOf } from './weights.ts'

/**
 * Merges a sealed round by its strategy: base plus what becomes of its deltas is the candidate. The
 * candidate is stored by its content before one transaction records weights, candidate and the end
 * of the job, so dying anywhere loses time only; running twice gives the same bytes.
 * A round that has moved on or ended meanwhile leaves nothing to do but end the job. Where the
 * quality floor leaves too few contributions the round fails, and says which were below it and why.
 * A revision merges again what a revocation left: see {@link remerge}.
 * @throws TapestryError INTERNAL when rows and round disagree; DATA_INVALID for blobs that do not fit; DISK_FULL.
 */
export async function aggregate(task: Task): Promise<void> {
  const round = await start(task)
  if (round === undefined) return
  const plan = await planOf(task)
  if (round.revisionOf !== undefined) return remerge(task, plan, round)
  const { policy } = round
  const rows = await contributionsOf(task, round)
  const base = await weightsOf(task.context, round.base)
  const quality = await judgeQuality(task, plan, { base, policy }, rows)
  const tooFew = shortfall(policy, rows, quality)
  if (tooFew !== undefined) return giveUpMerge(task, tooFew)
  const weighed = await weigh(task, plan, policy, rows, quality)
  const candidate = await merge(task, round, weighed.filter(isMerged))
  await record(task, weighed, candidate)
}

/** Marks the round as aggregating; ends the job and returns undefined when it is past that. */
async function start({ context, job }: Task): Promise<AggregatingRound | undefined> {
  const now = context.clock.now()
  return context.store.transact('start-aggregation', async (tx) => {
    const { round } = await advanceRound(tx, job.key, { type: 'aggregation-started' }, now)
    if (round.phase === 'aggregating') return round
    await finish(tx, job, now)
    return undefined
  })
}

async function planOf({ context, job }: Task): Promise<Plan> {
  const { run } = await subjectOf(context.store.reader, job)
  return parsePlan(Buffer.from(run.plan, 'utf8'))
}

/** In order of node id: a contribution's own id holds a random nonce, so its order would differ between repetitions. */
async function contributionsOf({ context, job }: Task, round: AggregatingRound): Promise<ContributionRow[]> {
  const rows = byNode(await context.store.reader.contributions(job.key))
  if (rows.length === round.accepted) return rows
  const detail = `round ${job.key.number} accepted ${round.accepted} contributions, ${rows.length} are stored`
  throw new TapestryError('INTERNAL', detail)
}

type Candidate = {
  readonly weights: StoredWeights
  readonly optimizerState: Digest | null
  readonly merged: RoundResult
}

async function merge(task: Task, round: AggregatingRound, weighed: readonly Weighed[]): Promise<Candidate> {
  const { context, job, signal } = task
  const { blobs, log } = context
  const base = await weightsOf(context, round.base)
  const deltas = await Promise.all(
    weighed.map(async ({ row, weight }) => ({ path: await blobs.localPath(row.payload), weight: weight.value })),
  )
  const scratch = await blobs.scratch()
  try {
    const { strategy, codec, shardBytes } = round.policy
    const out = join(scratch, 'candidate.safetensors')
    const optimizer = await optimizerFiles(task, round, scratch)
    const merged = await mergeRound({
      base,
      deltas,
      out,
      shardBytes,
      strategy,
      codec,
      optimizer,
      compare: true,
      signal,
    })
    const weights = await adoptWeights(blobs, merged.files)
    const state = optimizer && (await blobs.adopt(optimizer.out))
    log.info({ job: job.id, candidate: weights.digest, norm: merged.deltaNorm, deltas: deltas.length }, 'merged')
    return { weights, optimizerState: state?.digest ?? null, merged }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** The state belongs to the base, not to the run: a round that was refused leaves no trace in it. */
async function optimizerFiles({ context }: Task, round: AggregatingRound, scratch: string) {
  if (!keepsState(round.policy.strategy)) return undefined
  const digest = await optimizerStateOf(context.store.reader, round.base)
  const before = digest && (await context.blobs.localPath(digest))
  return { before, out: join(scratch, 'optimizer.safetensors') }
}

async function record({ context, job }: Task, weighed: readonly Weighed[], candidate: Candidate): Promise<void> {
  const now = context.clock.now()
  const { weights, optimizerState, merged } = candidate
  const { digest, shards } = weights
  const named = { candidate: digest, ...(shards.length > 0 && { shards }), optimizerState }
  const diagnostics = diagnose(
    weighed.filter(isMerged).map(({ row }) => row.node),
    merged,
  )
  await context.store.transact('record-candidate', async (tx) => {
    await finish(tx, job, now)
    if (!(await isStillAsked(tx, job, weighed))) return
    await tx.setWeights(weighed.map(({ row, weight }) => ({ id: row.id, weight })))
    await tx.appendToLedger(weightEvents(job.key, digest, weighed), now)
    await tx.putDiagnostics(job.key, diagnostics, now)
    const excused = await excusedFrom(tx, job.key)
    await advanceRound(tx, job.key, { type: 'candidate-written', ...named, excused }, now)
  })
}

/**
 * False when the round has ended meanwhile.
 * @throws TapestryError FAILED_PRECONDITION when a contribution was dropped meanwhile: the merge is made again without it.
 */
async function isStillAsked(tx: Tx, job: LeasedJob, weighed: readonly Weighed[]): Promise<boolean> {
  const { round } = await requireRound(tx, job.key)
  if (round.phase !== 'aggregating') return false
  if (round.accepted === weighed.length) return true
  throw new TapestryError(
    'FAILED_PRECONDITION',
    `contributions to round ${job.key.number} were dropped during its merge`,
  )
}
