import type { Digest } from '../core/digest.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import { type Plan, parsePlan } from '../plan/plan.ts'
import { randomFrom } from '../plan/random.ts'
import { decideRelease, type GateRecord, type ReleaseDecision } from '../policy/release.ts'
import type { EvaluatingRound } from '../round/round.ts'
import { advanceRound, requireRound } from '../store/advance.ts'
import { contributionsIn } from '../store/contributions-in.ts'
import type { LeasedJob } from '../store/job-row.ts'
import { type BuiltCheckpoint, recordCheckpoint } from '../store/publish.ts'
import type { RunRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { buildRelease } from './build-release.ts'
import { scoreEvents } from './ledger-events.ts'
import { measurePublicSets } from './public-sets.ts'
import { finish, subjectOf, type Task } from './task.ts'

/**
 * Decides about a candidate: measures it on the operator's public sets when there are any, pools
 * everybody's scores, and either refuses the release or publishes the candidate as the run's next
 * checkpoint. Files are stored first; one transaction then records the outcome and ends the job.
 * The checkpoint's digest depends on stored rows alone, so deciding twice names one checkpoint.
 * @throws TapestryError NOT_FOUND or INTERNAL when rows are missing; ENGINE_FAILED; DATA_INVALID for bad public sets; DISK_FULL.
 */
export async function decide(task: Task): Promise<void> {
  const { context, job } = task
  const { round, run } = await subjectOf(context.store.reader, job)
  if (round.round.phase !== 'evaluating') return endOnly(task)
  await measurePublicSets(task, run, round.round)
  const plan = parsePlan(Buffer.from(run.plan, 'utf8'))
  const decision = await judge(task, plan, round.round)
  const scores = scoreEvents(job.key, round.round.candidate, decision.record)
  if (decision.reason !== null) return refuse(task, round.round.candidate, decision.reason, decision.record, scores)
  await publish(task, run, await buildRelease(task, run, round.round, decision.record), decision.record, scores)
}

/** What the draws are made from is fixed before anybody reports: nobody can try until they suit him. */
async function judge({ context, job }: Task, plan: Plan, round: EvaluatingRound): Promise<ReleaseDecision> {
  const { reader } = context.store
  const [rows, contributions, nodes] = await Promise.all([
    reader.evaluations(job.key),
    contributionsIn(reader, job.key, round),
    reader.nodes(),
  ])
  const members = new Map(nodes.map((node): [string, string] => [node.id, node.member]))
  const measurements = rows.map((row) => ({ ...row, voice: members.get(row.measuredBy) ?? row.measuredBy }))
  return decideRelease(measurements, {
    minTokens: round.policy.gate.minTokens,
    mostTokens: plan.spec.evaluation.maxSequences * plan.spec.training.sequenceLength,
    trained: contributions.flatMap(({ languages }) => languages.map(({ language }) => language)),
    draws: (group) => randomFrom(`release ${round.candidate} ${group}`),
  })
}

/** The round ended while the job waited: there is nothing to decide. */
async function endOnly({ context, job }: Task): Promise<void> {
  await context.store.transact('end-decision', (tx) => finish(tx, job, context.clock.now()))
}

async function refuse(
  { context, job }: Task,
  candidate: Digest,
  reason: string,
  record: GateRecord,
  scores: readonly LedgerEvent[],
): Promise<void> {
  const now = context.clock.now()
  const refusal = { type: 'release-refused', run: job.key.run, round: job.key.number, candidate, reason } as const
  await context.store.transact('refuse-release', async (tx) => {
    await finish(tx, job, now)
    if (!(await isStillEvaluating(tx, job))) return
    for (const event of [...scores, refusal]) await tx.appendToLedger(event, now)
    await tx.putGateRecord(job.key, record, now)
    await advanceRound(tx, job.key, { type: 'release-refused', reason }, now)
  })
  context.log.info({ job: job.id, reason }, 'release refused')
}

/** The head moves before the round ends: a round that opens in this transaction starts from it. */
async function publish(
  { context, job }: Task,
  run: RunRow,
  built: BuiltCheckpoint,
  record: GateRecord,
  scores: readonly LedgerEvent[],
): Promise<void> {
  const { row: checkpoint } = built
  const now = checkpoint.createdAt
  await context.store.transact('publish-checkpoint', async (tx) => {
    await finish(tx, job, now)
    if (!(await isStillEvaluating(tx, job))) return
    for (const event of scores) await tx.appendToLedger(event, now)
    await recordCheckpoint(tx, run, built, now)
    await tx.putGateRecord(job.key, record, now)
    await advanceRound(tx, job.key, { type: 'checkpoint-published', checkpoint: checkpoint.digest }, now)
  })
  context.log.info({ job: job.id, checkpoint: checkpoint.digest, version: checkpoint.version }, 'published')
}

/** False when the round ended while its decision was made: a contribution in the candidate does not count any more. */
async function isStillEvaluating(tx: Tx, job: LeasedJob): Promise<boolean> {
  return (await requireRound(tx, job.key)).round.phase === 'evaluating'
}
