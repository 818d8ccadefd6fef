import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { examineDeltas } from '../aggregation/examine.ts'
import { mergeRound } from '../aggregation/merge-round.ts'
import type { Codec } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { MEAN } from '../core/strategy.ts'
import type { ScoredLanguage } from '../engine/messages.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import type { Plan } from '../plan/plan.ts'
import { randomFrom } from '../plan/random.ts'
import { judgeNorms, judgePublic, type PublicVerdict } from '../policy/quality-floor.ts'
import type { AggregatingRound } from '../round/round.ts'
import type { ContributionRow } from '../store/records.ts'
import { publicEvidence, publicSets, scorePublicSets } from './public-sets.ts'
import type { Task } from './task.ts'
import { weightsOf } from './weights.ts'

const PASSED: PublicVerdict = { quality: null, below: null }

/**
 * Holds the contributions of a round to the run's quality floor, in the order of `rows`. The public
 * floor costs one merge and one scoring per contribution; it is asked only of those that pass by
 * their norms.
 * @throws TapestryError FAILED_PRECONDITION when the floor is `public` and the operator gave no sets;
 * ENGINE_FAILED; DATA_INVALID; DISK_FULL.
 */
export async function judgeQuality(
  task: Task,
  plan: Plan,
  round: AggregatingRound,
  rows: readonly ContributionRow[],
): Promise<readonly PublicVerdict[]> {
  const { codec, influence } = round.policy
  const { floor } = influence
  if (floor === 'none') return rows.map(() => PASSED)
  const { blobs } = task.context
  const base = await weightsOf(task.context, round.base)
  const paths = await Promise.all(rows.map(({ payload }) => blobs.localPath(payload)))
  const { norms, cosines } = await examineDeltas(base, paths, codec, task.signal)
  const judged = rows.map(({ node, acceptedAt }, i) => ({ node, acceptedAt, norm: norms[i] ?? 0 }))
  const byNorms = judgeNorms(judged, cosines).map((below) => ({ quality: null, below }))
  return floor === 'norms' ? byNorms : judgeOnPublicSets(task, plan, { base, paths, codec, rows, byNorms })
}

type Pending = {
  readonly base: WeightFiles
  readonly paths: readonly string[]
  readonly codec: Codec
  readonly rows: readonly ContributionRow[]
  readonly byNorms: readonly PublicVerdict[]
}

async function judgeOnPublicSets(task: Task, plan: Plan, pending: Pending) {
  const { base, paths, rows, byNorms } = pending
  const sources = await publicSets(task.context.config)
  if (sources === undefined) {
    throw new TapestryError('FAILED_PRECONDITION', 'the quality floor "public" needs public evaluation sets', {
      hint: 'give the workers a folder of them: --evaluation-data',
    })
  }
  const [before] = await scorePublicSets(task, plan, [base], sources)
  const verdicts: PublicVerdict[] = []
  for (const [i, row] of rows.entries()) {
    const verdict = byNorms[i] ?? PASSED
    const after = verdict.below === null ? await scoreAlone(task, plan, pending, paths[i] ?? '', sources) : undefined
    verdicts.push(after === undefined ? verdict : judgePublic(ownTexts(row, before ?? [], after), draws(task, row)))
  }
  return verdicts
}

/** Scores the base with one contribution alone merged into it. */
async function scoreAlone(
  task: Task,
  plan: Plan,
  { base, codec }: Pending,
  path: string,
  sources: Parameters<typeof scorePublicSets>[3],
): Promise<readonly ScoredLanguage[]> {
  const scratch = await task.context.blobs.scratch()
  try {
    const out = join(scratch, 'alone.safetensors')
    await mergeRound({ base, deltas: [{ path, weight: 1 }], out, strategy: MEAN, codec, signal: task.signal })
    const [after] = await scorePublicSets(task, plan, [[out]], sources)
    return after ?? []
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function ownTexts(row: ContributionRow, before: readonly ScoredLanguage[], after: readonly ScoredLanguage[]) {
  const own = new Set(row.languages.map(({ language }) => language.toLowerCase()))
  return publicEvidence(before, after).filter(({ language }) => own.has(language.toLowerCase()))
}

function draws({ job }: Task, { node }: ContributionRow) {
  return randomFrom(`quality ${job.key.run} ${job.key.number} ${node}`)
}
