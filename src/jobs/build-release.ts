import { weightingText } from '../core/influence-choice.ts'
import type { LanguageScores } from '../model/manifest.ts'
import type { Override } from '../model/override.ts'
import { parsePlan } from '../plan/plan.ts'
import { gateResultOf } from '../policy/gate-result.ts'
import type { GateRecord, Verdict } from '../policy/release.ts'
import type { EvaluatingRound, RejectedRound } from '../round/round.ts'
import {
  type BuiltCheckpoint,
  buildCheckpoint,
  type CheckpointFacts,
  codecMember,
  releaseLicence,
  shardMember,
} from '../store/publish.ts'
import type { RunRow } from '../store/records.ts'
import { declaredDatasets } from './declared-datasets.ts'
import { mergedMembers } from './merged-members.ts'
import type { Task } from './task.ts'

/**
 * Makes the next checkpoint of a run out of a candidate that is to be released. The same rows give the same digest.
 * @param record what the gate found about it
 * @param override whose word releases it although the gate had blocked it
 * @throws TapestryError NOT_FOUND or INTERNAL when rows or blobs are missing; DISK_FULL.
 */
export async function buildRelease(
  task: Task,
  run: RunRow,
  round: EvaluatingRound | RejectedRound,
  record: GateRecord,
  override?: Override,
): Promise<BuiltCheckpoint> {
  const { context, signer, job } = task
  const { reader } = context.store
  const { candidate, shards = [], optimizerState } = round
  const [newest] = await reader.checkpoints({ run: run.id, limit: 1 })
  const facts: CheckpointFacts = {
    run: run.id,
    // Superseded versions keep their numbers.
    version: (newest?.version ?? 0) + 1,
    round: job.key.number,
    parents: [round.base],
    base: round.base,
    strategy: round.policy.strategy,
    ...codecMember(round.policy.codec),
    ...shardMember(round.policy, { shards }),
    ...(await mergedMembers(task, round)),
    scores: Object.fromEntries(record.languages.flatMap(scoresEntry)),
    gate: gateResultOf(record),
    ...(override && { override }),
  }
  const origin = {
    rules: { quorum: round.policy.quorum, weighting: weightingText(round.policy.influence.weighting) },
    shares: await reader.trainingShares(job.key, round.base),
    datasets: declaredDatasets(await reader.trainingRecords(job.key, round.base)),
  }
  const licence = releaseLicence(round.policy)
  const plan = parsePlan(Buffer.from(run.plan, 'utf8'))
  const tensors = { weights: candidate, optimizerState: optimizerState ?? undefined }
  const parts = { facts, origin, plan, licence, tensors }
  return buildCheckpoint(context, signer, parts, context.clock.now())
}

/** Nothing for a language that was not measured. */
function scoresEntry({ language, base, candidate, measuredBy }: Verdict): [string, LanguageScores][] {
  return base === null || candidate === null ? [] : [[language, { base, candidate, measuredBy }]]
}
