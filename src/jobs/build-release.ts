import { TapestryError } from '../core/error.ts'
import { weightingText } from '../core/influence-choice.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import type { LanguageScores, MergedContribution } from '../model/manifest.ts'
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
import type { ContributionRow, RunRow } from '../store/records.ts'
import { declaredDatasets } from './declared-datasets.ts'
import type { Task } from './task.ts'
import { requireCheckpoint } from './weights.ts'

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
  const base = await requireCheckpoint(reader, round.base)
  const facts: CheckpointFacts = {
    run: run.id,
    version: base.version + 1,
    round: job.key.number,
    parents: [round.base],
    base: round.base,
    strategy: round.policy.strategy,
    ...codecMember(round.policy.codec),
    ...shardMember(round.policy, { shards }),
    contributions: await mergedContributions(task),
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

async function mergedContributions({ context, job }: Task): Promise<MergedContribution[]> {
  const { reader } = context.store
  const rows = await reader.contributions(job.key)
  return Promise.all(rows.map(async (row) => mergedContribution(row, await reader.node(row.node))))
}

type Owner = { readonly member: MergedContribution['member'] } | undefined

function mergedContribution(row: ContributionRow, owner: Owner): MergedContribution {
  const { id, node, payload, bytes, weight } = row
  if (weight === null || owner === undefined) {
    throw new TapestryError('INTERNAL', `contribution ${id} has no weight or no member`)
  }
  const languages = tokensByLanguage(row)
  return { id, node, member: owner.member, payload, bytes, weight: weight.value, reason: weight.reason, languages }
}

/** Tokens trained on by language, its communities added up. */
function tokensByLanguage({ languages }: ContributionRow): Record<LanguageTag, number> {
  const tokens = new Map<LanguageTag, number>()
  for (const report of languages) tokens.set(report.language, (tokens.get(report.language) ?? 0) + report.tokens)
  return Object.fromEntries(tokens)
}
