import type { LanguageEvaluation } from '../model/evaluation-report.ts'
import { pairedEvidence } from '../model/paired-evidence.ts'
import type { LanguageKey, Score } from '../model/report-document.ts'
import type { ScoredLanguage } from './trainer.ts'

/** One set of weights on one language of the node's held-out text. */
export type ScoredText = LanguageKey & { readonly score: Score; readonly sequences: readonly number[] | undefined }

export function languagesOf(scored: { readonly languages: readonly ScoredLanguage[] } | undefined): ScoredText[] {
  return (scored?.languages ?? []).map(({ language, community, mean, standardError, tokens, sequences }) => ({
    language,
    community,
    score: { mean, standardError, tokens },
    sequences,
  }))
}

/** Pairs the scores; undefined unless both cover the same languages over as many tokens. */
export function comparedLanguages(
  base: readonly ScoredText[],
  candidate: readonly ScoredText[],
): LanguageEvaluation[] | undefined {
  const pairs = base.flatMap((one) => {
    const other = candidate.find(({ language, community }) => language === one.language && community === one.community)
    if (other === undefined || other.score.tokens !== one.score.tokens) return []
    const { language, community, score: before } = one
    const paired = pairedEvidence(one.sequences ?? [], other.sequences ?? [])
    return [{ language, community, base: before, candidate: other.score, ...(paired && { paired }) }]
  })
  return pairs.length > 0 && pairs.length === base.length && pairs.length === candidate.length ? pairs : undefined
}
