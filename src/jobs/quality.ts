import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { examineDeltas } from '../aggregation/examine.ts'
import { mergeRound } from '../aggregation/merge-round.ts'
import { assertNever } from '../core/assert.ts'
import type { Codec } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { MEAN } from '../core/strategy.ts'
import type { ScoredLanguage } from '../engine/messages.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import type { Plan } from '../plan/plan.ts'
import { randomFrom } from '../plan/random.ts'
import { judgePeers } from '../policy/peer-floor.ts'
import { judgeNorms, judgePublic, type QualityVerdict } from '../policy/quality-floor.ts'
import type { RunPolicy } from '../round/policy.ts'
import type { ContributionRow } from '../store/records.ts'
import { publicEvidence, publicSets, scorePublicSets } from './public-sets.ts'
import type { Task } from './task.ts'

const PASSED: QualityVerdict = { quality: null, below: null }

/** What contributions are merged into: the path of its weights, and by which rules. */
export type MergeBase = { readonly base: WeightFiles; readonly policy: RunPolicy }

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
  { base, policy }: MergeBase,
  rows: readonly ContributionRow[],
): Promise<readonly QualityVerdict[]> {
  const { codec, influence } = policy
  const { floor } = influence
  if (floor === 'none') return rows.map(() => PASSED)
  const { blobs } = task.context
  const paths = await Promise.all(rows.map(({ payload }) => blobs.localPath(payload)))
  const { norms, cosines } = await examineDeltas(base, paths, codec, task.signal)
  const judged = rows.map(({ node, acceptedAt }, i) => ({ node, acceptedAt, norm: norms[i] ?? 0 }))
  const byNorms = judgeNorms(judged, cosines).map((below) => ({ quality: null, below }))
  switch (floor) {
    case 'norms':
      return byNorms
    case 'public':
      return judgeOnPublicSets(task, plan, { base, paths, codec, rows, byNorms })
    case 'peers':
      return judgeByPeers(task, rows, byNorms)
    default:
      return assertNever(floor)
  }
}

type Pending = {
  readonly base: WeightFiles
  readonly paths: readonly string[]
  readonly codec: Codec
  readonly rows: readonly ContributionRow[]
  readonly byNorms: readonly QualityVerdict[]
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
  const verdicts: QualityVerdict[] = []
  for (const [i, row] of rows.entries()) {
    const verdict = byNorms[i] ?? PASSED
    const after = verdict.below === null ? await scoreAlone(task, plan, pending, paths[i] ?? '', sources) : undefined
    verdicts.push(after === undefined ? verdict : judgePublic(ownTexts(row, before ?? [], after), draws(row)))
  }
  return verdicts
}

/** What reviewers have found by now: those who were silent until the round's deadline are not waited for. */
async function judgeByPeers(task: Task, rows: readonly ContributionRow[], byNorms: readonly QualityVerdict[]) {
  const { reader } = task.context.store
  // A revision goes by what was found when the contributions were handed in.
  const key = rows[0]?.key ?? task.job.key
  const [reviews, nodes] = await Promise.all([reader.reviews(key), reader.nodes()])
  const members = new Map(nodes.map(({ id, member }): [string, string] => [id, member]))
  return rows.map((row, i) => {
    if (byNorms[i]?.below) return byNorms[i]
    const about = reviews.filter(({ contribution }) => contribution === row.id)
    const voices = about.map(({ reviewer, languages }) => ({
      voice: members.get(reviewer) ?? reviewer,
      languages: (languages ?? []).map((one) => ({ ...one, paired: one.paired ?? null })),
    }))
    return judgePeers(voices, draws(row))
  })
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

function draws({ key, node }: ContributionRow) {
  return randomFrom(`quality ${key.run} ${key.number} ${node}`)
}
