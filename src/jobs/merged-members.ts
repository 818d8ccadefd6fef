import { TapestryError } from '../core/error.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import type { Manifest, MergedContribution, Revision } from '../model/manifest.ts'
import type { Round } from '../round/round.ts'
import { contributionsIn } from '../store/contributions-in.ts'
import type { ContributionRow } from '../store/records.ts'
import type { Task } from './task.ts'

/** What a manifest says of what was merged: a round's contributions, or those of each step of a revision. */
export async function mergedMembers(
  { context, job }: Task,
  round: Round,
): Promise<Pick<Manifest, 'contributions' | 'revision'>> {
  const { reader } = context.store
  const { revisionOf } = round
  // What a revision passed over has no weight.
  const rows = (await contributionsIn(reader, job.key, round)).filter(
    ({ weight }) => revisionOf === undefined || weight !== null,
  )
  const merged = await Promise.all(
    rows.map(async (row) => ({
      round: row.key.number,
      contribution: mergedContribution(row, await reader.node(row.node)),
    })),
  )
  if (revisionOf === undefined) return { contributions: merged.map(({ contribution }) => contribution) }
  const revocation = await reader.revocation({ run: job.key.run, number: revisionOf })
  if (revocation === undefined) throw new TapestryError('INTERNAL', `revocation ${revisionOf} has vanished`)
  const { superseded, indirectInfluence } = revocation.plan
  const steps = [...new Set(merged.map((one) => one.round))].map((number) => ({
    round: number,
    contributions: merged.filter((one) => one.round === number).map(({ contribution }) => contribution),
  }))
  const revision: Revision = { revocation: revisionOf, replaces: superseded, indirectInfluence, steps }
  return { contributions: [], revision }
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
