import { z } from 'zod'
import type { Digest } from '../core/digest.ts'
import type { FederationId, NodeId, RunId } from '../core/ids.ts'
import { ensureLanguageTag, type LanguageTag } from '../core/language-tag.ts'
import { compareText } from '../core/order.ts'
import { reject, type Verdict } from '../core/rejection.ts'
import { branded, digestSchema } from './parsing.ts'
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

/** How much of the training came from one dataset record. */
export type RecordUse = {
  /** The record, as it was registered. */
  readonly digest: Digest
  /** Tokens trained on in this round; each language once. */
  readonly languages: readonly { readonly language: LanguageTag; readonly tokens: number }[]
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
  /** Where all of those tokens come from. Left out by nodes that know no records. */
  readonly records?: readonly RecordUse[] | undefined
}

/** A corpus is a record, not a file. */
const MAX_RECORDS = 256

const languageSchema = z
  .strictObject({
    ...languageKeyFields,
    tokens: countSchema,
    documents: countSchema,
    before: scoreSchema,
    after: scoreSchema,
  })
  .refine(({ before, after }) => before.tokens === after.tokens, 'before and after must score the same text')

const recordSchema = z.strictObject({
  digest: digestSchema,
  languages: z
    .array(z.strictObject({ language: branded(ensureLanguageTag), tokens: countSchema }))
    .min(1)
    .max(MAX_LANGUAGES)
    .refine(
      (used) => new Set(used.map(({ language }) => language.toLowerCase())).size === used.length,
      'a language twice',
    ),
})

const recordsSchema = z
  .array(recordSchema)
  .min(1)
  .max(MAX_RECORDS)
  .refine((records) => new Set(records.map(({ digest }) => digest)).size === records.length, 'a record twice')

const schema: z.ZodType<ContributionManifest> = z.strictObject({
  format: z.literal(FORMAT),
  ...placeFields,
  payloadDigest: digestSchema,
  payloadBytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  languages: z.array(languageSchema).min(1).max(MAX_LANGUAGES),
  records: recordsSchema.optional(),
})

/**
 * Reads a contribution manifest as it was signed. The signature is the caller's to check.
 * @returns rejection MALFORMED or INVALID_REPORT, see {@link parseDocument}.
 */
export function parseContributionManifest(bytes: Uint8Array): Verdict<ContributionManifest> {
  const parsed = parseDocument(bytes, schema)
  const stray = parsed.ok ? unaccounted(parsed.value) : undefined
  return stray === undefined
    ? parsed
    : reject('INVALID_REPORT', `records: the tokens in ${stray} are not those under languages`)
}

/** The first language whose tokens do not add up: every token comes from a record, once records are named. */
function unaccounted({ languages, records }: ContributionManifest): string | undefined {
  if (records === undefined) return undefined
  const left = new Map<string, number>()
  const add = (language: string, tokens: number) => left.set(language, (left.get(language) ?? 0) + tokens)
  for (const { language, tokens } of languages) add(language.toLowerCase(), tokens)
  for (const { language, tokens } of records.flatMap((record) => record.languages)) add(language.toLowerCase(), -tokens)
  return [...left].find(([, tokens]) => tokens !== 0)?.[0]
}

/**
 * The bytes that a node signs.
 * @throws TapestryError INVALID_ARGUMENT when {@link parseContributionManifest} would refuse them.
 */
export function contributionManifestBytes(fields: Omit<ContributionManifest, 'format'>): Uint8Array {
  const records = fields.records?.toSorted((a, b) => compareText(a.digest, b.digest))
  return encodeDocument({ ...fields, ...(records && { records }), format: FORMAT }, parseContributionManifest)
}
