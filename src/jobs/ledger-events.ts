import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import type { MemberId, RoundKey } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { type LedgerEvent, partsOf } from '../ledger/entry.ts'
import { INFLUENCE_POLICY, type WeightDecision } from '../policy/influence.ts'
import type { GateRecord } from '../policy/release.ts'
import type { ContributionRow } from '../store/records.ts'

/** A contribution with its decided share. `member`: absent for a node that is no longer known. */
export type Weighed = {
  readonly row: ContributionRow
  readonly member: MemberId | undefined
  readonly weight: WeightDecision
}

/** What the log says about the weights of a merge. */
export function weightEvents(key: RoundKey, candidate: Digest, weighed: readonly Weighed[]): LedgerEvent[] {
  const inputs = weighed.map(({ row, member = '', weight }) => ({
    contribution: row.id,
    node: row.node,
    member,
    norm: row.norm,
    decision: weight.decision,
  }))
  const decided = {
    ...({ type: 'weights', run: key.run, round: key.number, policy: INFLUENCE_POLICY, candidate } as const),
    inputs: digestOf(canonicalBytes(inputs)),
  }
  const weights = weighed.map(({ row, weight }) => ({
    contribution: row.id,
    weight: weight.value,
    reason: weight.reason,
  }))
  return partsOf(weights).map(({ part, items }) => ({ ...decided, part, weights: items }))
}

/** What the log says about the scores that a decision was made from: nothing of languages that nobody measured enough. */
export function scoreEvents(key: RoundKey, candidate: Digest, { languages: verdicts }: GateRecord): LedgerEvent[] {
  const measured = { type: 'scores', run: key.run, round: key.number, candidate } as const
  const languages = verdicts.flatMap(({ language, base, candidate, measuredBy }) => {
    if (base === null || candidate === null) return []
    return [{ language: ensureLanguageTag(language), base, candidate, measurers: measuredBy.length }]
  })
  return partsOf(languages).map(({ part, items }) => ({ ...measured, part, languages: items }))
}
