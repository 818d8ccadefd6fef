import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { STAGES, type Stage, USES, type Use } from '../core/demands.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import {
  ensureFederationId,
  ensureNodeId,
  ensureRecordId,
  type FederationId,
  type NodeId,
  type RecordId,
} from '../core/ids.ts'
import { ensureJurisdiction, type Jurisdiction } from '../core/jurisdiction.ts'
import { ensureLanguageTag, type LanguageTag } from '../core/language-tag.ts'
import { branded, digestSchema, parseCanonical, printableText } from '../model/parsing.ts'
import { ensureDay } from './day.ts'
import { LICENCE_CLASSES, type LicenceClass } from './licence-table.ts'

const FORMAT = 'tapestry-record/1'
const WITHDRAWAL_FORMAT = 'tapestry-withdrawal/1'
/** Metadata, not a place to put data. */
export const MAX_RECORD_BYTES = 64 * 1024

/** What data are used on the strength of. */
export const CONSENT_KINDS = ['individual', 'community', 'agreement', 'licence', 'statute', 'public-domain'] as const
export type ConsentKind = (typeof CONSENT_KINDS)[number]

/** Who speaks for data, beside their steward. */
export type RecordCommunity = {
  /** Who decides for the community. */
  readonly authority: string
  /** How to reach it: an office, not a person. */
  readonly contact?: string | undefined
  /** Such as the Traditional Knowledge labels of localcontexts.org. */
  readonly labels?: readonly string[] | undefined
}

export type Consent = {
  readonly kind: ConsentKind
  /** SHA-256 of the paper that says so; the steward keeps the paper. */
  readonly evidence: Digest
  /** First and last day that it holds, YYYY-MM-DD in UTC; no last day: until withdrawn. */
  readonly granted: string
  readonly expires?: string | undefined
}

/** What a steward declares about a corpus. */
export type DatasetTerms = {
  readonly id: RecordId
  /** Institution that answers for the data. */
  readonly steward: string
  readonly title: string
  readonly languages: readonly LanguageTag[]
  readonly communities?: readonly RecordCommunity[] | undefined
  /** SPDX expression, which may hold LicenseRefs. */
  readonly licence: string
  /** Class of each LicenseRef in `licence`. */
  readonly licenceClasses?: Readonly<Record<string, LicenceClass>> | undefined
  readonly consent: Consent
  /** Where training may happen, and where it may be coordinated; left out: anywhere. */
  readonly residency?:
    | {
        readonly training?: readonly Jurisdiction[] | undefined
        readonly coordination?: readonly Jurisdiction[] | undefined
      }
    | undefined
  readonly uses: readonly Use[]
  /** How far models that were trained on it may reach; left out: as far as any. */
  readonly stages?: readonly Stage[] | undefined
  /** Whether anyone may read this record. */
  readonly public: boolean
}

/** What a node signs (domain `record`) about a corpus. Its digest is how contributions name it. */
export type DatasetRecord = DatasetTerms & {
  readonly format: typeof FORMAT
  readonly federation: FederationId
  readonly node: NodeId
  /** Commits to the text: see `contentOf` in src/engine/content.ts. */
  readonly content: Digest
}

/** What a node signs (domain `withdrawal`) to end a dataset's use: all its records, under whatever digest. */
export type Withdrawal = {
  readonly format: typeof WITHDRAWAL_FORMAT
  readonly federation: FederationId
  readonly node: NodeId
  readonly id: RecordId
  /** YYYY-MM-DD in UTC. */
  readonly withdrawn: string
}

const day = z.string().transform((text, context) => {
  try {
    return ensureDay(text)
  } catch (cause) {
    context.addIssue({ code: 'custom', message: cause instanceof Error ? cause.message : 'no day' })
    return z.NEVER
  }
})
const line = (longest: number) => printableText(longest).min(1)

/** A list in which nothing is said twice. */
function unique<T extends string>(item: z.ZodType<T>, most: number) {
  const distinct = (items: readonly T[]) => new Set(items.map((one) => one.toLowerCase())).size === items.length
  return z.array(item).min(1).max(most).refine(distinct, 'says the same twice').readonly()
}

const consentSchema = z
  .strictObject({
    kind: z.enum(CONSENT_KINDS),
    evidence: digestSchema,
    granted: day,
    expires: day.optional(),
  })
  .refine(({ granted, expires }) => expires === undefined || granted <= expires, 'expires before it was granted')

const places = unique(branded(ensureJurisdiction), 300)

const termsFields = {
  id: branded(ensureRecordId),
  steward: line(200),
  title: line(200),
  languages: unique(branded(ensureLanguageTag), 1000),
  communities: z
    .array(
      z.strictObject({ authority: line(200), contact: line(200).optional(), labels: unique(line(100), 50).optional() }),
    )
    .min(1)
    .max(100)
    .optional(),
  licence: line(500),
  licenceClasses: z.record(z.string().regex(/^LicenseRef-[A-Za-z0-9.-]{1,80}$/), z.enum(LICENCE_CLASSES)).optional(),
  consent: consentSchema,
  residency: z.strictObject({ training: places.optional(), coordination: places.optional() }).optional(),
  uses: unique(z.enum(USES), USES.length),
  stages: unique(z.enum(STAGES), STAGES.length).optional(),
  public: z.boolean(),
}

/** What a person writes about a dataset; unknown members are refused, so that a misspelt limit is never lost. */
export const termsSchema: z.ZodType<DatasetTerms> = z.strictObject(termsFields)

const placeFields = { federation: branded(ensureFederationId), node: branded(ensureNodeId) }

const recordSchema: z.ZodType<DatasetRecord> = z.strictObject({
  ...termsFields,
  ...placeFields,
  format: z.literal(FORMAT),
  content: digestSchema,
})

const withdrawalSchema: z.ZodType<Withdrawal> = z.strictObject({
  ...placeFields,
  format: z.literal(WITHDRAWAL_FORMAT),
  id: branded(ensureRecordId),
  withdrawn: day,
})

/** The bytes that a node signs. @throws TapestryError VERIFICATION_FAILED when a coordinator would refuse them. */
export function datasetRecordBytes(fields: Omit<DatasetRecord, 'format'>): Uint8Array {
  const bytes = canonicalBytes({ ...fields, format: FORMAT })
  parseDatasetRecord(bytes)
  return bytes
}

/** Reads a record as it was signed; the signature is the caller's to check. @throws TapestryError VERIFICATION_FAILED */
export function parseDatasetRecord(bytes: Uint8Array): DatasetRecord {
  return parseCanonical(bounded(bytes), recordSchema, 'the dataset record')
}

/** The bytes that a node signs. */
export function withdrawalBytes(fields: Omit<Withdrawal, 'format'>): Uint8Array {
  return canonicalBytes({ ...fields, format: WITHDRAWAL_FORMAT })
}

/** As {@link parseDatasetRecord}. */
export function parseWithdrawal(bytes: Uint8Array): Withdrawal {
  return parseCanonical(bounded(bytes), withdrawalSchema, 'the withdrawal')
}

function bounded(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength <= MAX_RECORD_BYTES) return bytes
  throw new TapestryError('VERIFICATION_FAILED', `a record has at most ${MAX_RECORD_BYTES} bytes`)
}
