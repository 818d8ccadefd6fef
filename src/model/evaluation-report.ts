import { z } from 'zod'
import type { Digest } from '../core/digest.ts'
import type { FederationId, NodeId, RunId } from '../core/ids.ts'
import type { Verdict } from '../core/rejection.ts'
import { type PairedEvidence, pairedEvidenceSchema } from './paired-evidence.ts'
import { digestSchema } from './parsing.ts'
import {
  encodeDocument,
  type LanguageKey,
  languageKeyFields,
  MAX_LANGUAGES,
  parseDocument,
  placeFields,
  type Score,
  scoreSchema,
} from './report-document.ts'

const FORMAT = 'tapestry-evaluation/1'

/** Base and candidate on one language of the node's held-out text: both over the same tokens. */
export type LanguageEvaluation = LanguageKey & {
  readonly base: Score
  readonly candidate: Score
  /** How each sequence changed; only when the round asks for it. */
  readonly paired?: PairedEvidence | undefined
}

/** What a node signs (domain `evaluation`) about one candidate. */
export type EvaluationReport = {
  readonly format: typeof FORMAT
  readonly federation: FederationId
  readonly run: RunId
  readonly round: number
  readonly node: NodeId
  /** Manifest digest of the checkpoint that the round started from. */
  readonly baseDigest: Digest
  /** Digest of the candidate's weights file. */
  readonly candidateDigest: Digest
  readonly languages: readonly LanguageEvaluation[]
}

export const languageEvaluationSchema: z.ZodType<LanguageEvaluation> = z
  .strictObject({
    ...languageKeyFields,
    base: scoreSchema,
    candidate: scoreSchema,
    paired: pairedEvidenceSchema.optional(),
  })
  .refine(({ base, candidate }) => base.tokens === candidate.tokens, 'base and candidate must score the same text')

const schema: z.ZodType<EvaluationReport> = z.strictObject({
  format: z.literal(FORMAT),
  ...placeFields,
  candidateDigest: digestSchema,
  languages: z.array(languageEvaluationSchema).min(1).max(MAX_LANGUAGES),
})

/**
 * Reads an evaluation report as it was signed. The signature is the caller's to check.
 * @returns rejection MALFORMED or INVALID_REPORT, see {@link parseDocument}.
 */
export function parseEvaluationReport(bytes: Uint8Array): Verdict<EvaluationReport> {
  return parseDocument(bytes, schema)
}

/**
 * The bytes that a node signs.
 * @throws TapestryError INVALID_ARGUMENT when {@link parseEvaluationReport} would refuse them.
 */
export function evaluationReportBytes(fields: Omit<EvaluationReport, 'format'>): Uint8Array {
  return encodeDocument({ ...fields, format: FORMAT }, parseEvaluationReport)
}
