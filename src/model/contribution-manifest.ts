import { z } from 'zod'
import type { Digest } from '../core/digest.ts'
import type { FederationId, NodeId, RunId } from '../core/ids.ts'
import type { Verdict } from '../core/rejection.ts'
import { digestSchema } from './parsing.ts'
import {
  countSchema,
  encodeDocument,
  type LanguageKey,
  languageKeyFields,
  MAX_LANGUAGES,
  parseDocument,
  placeFields,
  type Score,
  scoreSchema,
} from './report-document.ts'

const FORMAT = 'tapestry-contribution/1'

/** What a node reports about one language of its data. */
export type LanguageReport = LanguageKey & {
  /** Tokens trained on in this round. */
  readonly tokens: number
  /** Documents trained on in this round. */
  readonly documents: number
  /** Base on the node's held-out text. */
  readonly before: Score
  /** Base plus the node's own delta on the same text: `tokens` is the same as in `before`. */
  readonly after: Score
}

/** What a node signs (domain `contribution`) about one delta. Its digest is the contribution's id. */
export type ContributionManifest = {
  readonly format: typeof FORMAT
  readonly federation: FederationId
  readonly run: RunId
  readonly round: number
  readonly node: NodeId
  /** Manifest digest of the checkpoint that was trained from. */
  readonly baseDigest: Digest
  readonly payloadDigest: Digest
  readonly payloadBytes: number
  /** 128 random bits in hex: two contributions of a node never have the same id. */
  readonly nonce: string
  readonly languages: readonly LanguageReport[]
}

const languageSchema = z
  .strictObject({
    ...languageKeyFields,
    tokens: countSchema,
    documents: countSchema,
    before: scoreSchema,
    after: scoreSchema,
  })
  .refine(({ before, after }) => before.tokens === after.tokens, 'before and after must score the same text')

const schema: z.ZodType<ContributionManifest> = z.strictObject({
  format: z.literal(FORMAT),
  ...placeFields,
  payloadDigest: digestSchema,
  payloadBytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  languages: z.array(languageSchema).min(1).max(MAX_LANGUAGES),
})

/**
 * Reads a contribution manifest as it was signed. The signature is the caller's to check.
 * @returns rejection MALFORMED or INVALID_REPORT, see {@link parseDocument}.
 */
export function parseContributionManifest(bytes: Uint8Array): Verdict<ContributionManifest> {
  return parseDocument(bytes, schema)
}

/**
 * The bytes that a node signs.
 * @throws TapestryError INVALID_ARGUMENT when {@link parseContributionManifest} would refuse them.
 */
export function contributionManifestBytes(fields: Omit<ContributionManifest, 'format'>): Uint8Array {
  return encodeDocument({ ...fields, format: FORMAT }, parseContributionManifest)
}
