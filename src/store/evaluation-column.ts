import { ensureNodeId, ensureRunId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import type { Evaluation } from '../gen/prisma/client.ts'
import { pairedEvidenceSchema } from '../model/paired-evidence.ts'
import { parseStored, toCount, toMeasure } from './column.ts'
import type { EvaluationRow } from './records.ts'
import { roundOf } from './rounds.ts'

/** What tells an evaluation from every other, as columns. */
export function evaluationKey(row: EvaluationRow) {
  const { measuredBy, language, community } = row
  return { ...roundOf(row.key), measuredBy, language, community }
}

/** @throws TapestryError INVALID_ARGUMENT for numbers that a column cannot hold. */
export function evaluationColumns(row: EvaluationRow) {
  return {
    ...evaluationKey(row),
    tokens: toCount(row.base.tokens),
    baseMean: toMeasure(row.base.mean),
    baseSe: toMeasure(row.base.standardError),
    candidateMean: toMeasure(row.candidate.mean),
    candidateSe: toMeasure(row.candidate.standardError),
    ...(row.paired && { paired: { unit: row.paired.unit, steps: [...row.paired.steps] } }),
    report: row.report?.text ?? null,
    signature: row.report?.signature.value ?? null,
    keyId: row.report?.signature.keyId ?? null,
    at: new Date(row.at),
  }
}

/** @throws TapestryError DATA_INVALID for evidence that is none. */
export function evaluationRow(row: Evaluation): EvaluationRow {
  const { report, signature, keyId } = row
  const signed = report !== null && signature !== null && keyId !== null
  const tokens = Number(row.tokens)
  return {
    key: { run: ensureRunId(row.runId), number: row.round },
    measuredBy: row.measuredBy === 'coordinator' ? 'coordinator' : ensureNodeId(row.measuredBy),
    language: ensureLanguageTag(row.language),
    community: row.community,
    base: { mean: row.baseMean, standardError: row.baseSe, tokens },
    candidate: { mean: row.candidateMean, standardError: row.candidateSe, tokens },
    paired: row.paired === null ? null : parseStored(pairedEvidenceSchema, row.paired, 'evidence'),
    report: signed ? { text: report, signature: { keyId, value: signature } } : null,
    at: row.at.getTime(),
  }
}

/** The order in which evaluations of a round are handed out. */
export function byMeasurer(a: EvaluationRow, b: EvaluationRow): number {
  return (
    compareText(a.measuredBy, b.measuredBy) ||
    compareText(a.language, b.language) ||
    compareText(a.community, b.community)
  )
}
