import { z } from 'zod'
import type { Digest } from '../core/digest.ts'
import type { FederationId, NodeId, RunId } from '../core/ids.ts'
import type { Verdict } from '../core/rejection.ts'
import { type LanguageEvaluation, languageEvaluationSchema } from './evaluation-report.ts'
import { digestSchema } from './parsing.ts'
import { encodeDocument, MAX_LANGUAGES, parseDocument, placeFields } from './report-document.ts'

const FORMAT = 'tapestry-review/1'

/** What a node signs (domain `review`) about one contribution of another member's node. */
export type ReviewReport = {
  readonly format: typeof FORMAT
  readonly federation: FederationId
  readonly run: RunId
  readonly round: number
  readonly node: NodeId
  /** Manifest digest of the checkpoint that the round started from. */
  readonly baseDigest: Digest
  readonly contribution: Digest
  /** `candidate` is the base with the contribution alone. Empty: the reviewer could not score it. */
  readonly languages: readonly LanguageEvaluation[]
}

export const reviewedLanguagesSchema = z.array(languageEvaluationSchema).max(MAX_LANGUAGES)

const schema: z.ZodType<ReviewReport> = z.strictObject({
  format: z.literal(FORMAT),
  ...placeFields,
  contribution: digestSchema,
  languages: reviewedLanguagesSchema,
})

/**
 * Reads a review as it was signed. The signature is the caller's to check.
 * @returns rejection MALFORMED or INVALID_REPORT, see {@link parseDocument}.
 */
export function parseReviewReport(bytes: Uint8Array): Verdict<ReviewReport> {
  return parseDocument(bytes, schema)
}

/**
 * The bytes that a node signs.
 * @throws TapestryError INVALID_ARGUMENT when {@link parseReviewReport} would refuse them.
 */
export function reviewReportBytes(fields: Omit<ReviewReport, 'format'>): Uint8Array {
  return encodeDocument({ ...fields, format: FORMAT }, parseReviewReport)
}
