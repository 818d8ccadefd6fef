import { z } from 'zod'
import { canonicalBytes, type Json } from '../core/canonical-json.ts'
import type { Millis } from '../core/clock.ts'
import {
  ensureChannelName,
  ensureFederationId,
  ensureMemberId,
  ensureNodeId,
  ensureRoundNumber,
  ensureRunId,
} from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { branded, digestSchema, parseCanonical, printableText } from '../model/parsing.ts'

/**
 * What the log says: hashes, ids and declared metadata. No text, no names of people, nothing that a person could later
 * rightly ask to have deleted: an entry is for ever and for everybody.
 */

const node = branded(ensureNodeId)
const run = branded(ensureRunId)
const round = z.number().transform(ensureRoundNumber)
const count = z.int().min(0)
/** Hex SHA-256 of a public key (SPKI, DER). */
const key = z.string().regex(/^[0-9a-f]{64}$/)
const keyText = z.string().max(400)
/** One sentence that a rule of the federation wrote. */
const sentence = z.string().max(4_000)
const mean = z.strictObject({ mean: z.number(), standardError: z.number(), tokens: count })
/** A list too long for one entry is told in several, in order. */
const part = z.strictObject({ number: count, of: count })

const federation = branded(ensureFederationId)

export const entrySchema = z.discriminatedUnion('type', [
  /** The first entry of a new federation. `record`: digest of the federation record; `log`: the log's key, as signed notes name it. */
  z.strictObject({ type: z.literal('federation-created'), federation, record: digestSchema, log: keyText }),
  /** The first entry where the federation is older than its log: what came before is not in it. */
  z.strictObject({ type: z.literal('log-opened'), federation, record: digestSchema, log: keyText }),
  /** A node was let in. `genesis`: digest of its genesis record, which holds its keys. */
  z.strictObject({ type: z.literal('enrolment'), node, member: branded(ensureMemberId), genesis: digestSchema }),
  /** A node changed its keys. `record`: digest of what the keys signed; `authority`: who decided. */
  z.strictObject({
    type: z.literal('node-keys'),
    node,
    number: count,
    record: digestSchema,
    authority: z.enum(['node', 'recovery']),
  }),
  /** A node ended its membership. `departure`: digest of what it signed. */
  z.strictObject({ type: z.literal('node-left'), node, departure: digestSchema }),
  /** Operators barred a node or let it in again, for a reason that they gave. `dropped`: contributions to live rounds that do not count. */
  z.strictObject({
    type: z.literal('node-status'),
    node,
    status: z.enum(['active', 'suspended', 'ejected']),
    reason: printableText(200),
    dropped: z.array(digestSchema),
  }),
  /** A node declared a corpus. `record`: digest of what it signed; `consent`: digest of the evidence that the data may be used. */
  z.strictObject({ type: z.literal('record-registered'), node, record: digestSchema, consent: digestSchema }),
  /** A node ended the use of a corpus, one entry for each record of it. `withdrawal`: digest of what it signed. */
  z.strictObject({ type: z.literal('record-withdrawn'), node, record: digestSchema, withdrawal: digestSchema }),
  /** `policy`: digest of the run's policy as canonical JSON. */
  z.strictObject({
    type: z.literal('run-created'),
    run,
    plan: digestSchema,
    policy: digestSchema,
    channel: branded(ensureChannelName),
  }),
  /** `contribution`: digest of the manifest that the node signed. */
  z.strictObject({
    type: z.literal('contribution'),
    contribution: digestSchema,
    node,
    run,
    round,
    base: digestSchema,
    payload: digestSchema,
    bytes: count,
  }),
  /** `policy`: the rule that decided; `inputs`: digest of what it decided from (docs/LEDGER.md). */
  z.strictObject({
    type: z.literal('weights'),
    run,
    round,
    policy: z.string().max(100),
    inputs: digestSchema,
    candidate: digestSchema,
    part,
    weights: z.array(z.strictObject({ contribution: digestSchema, weight: z.number(), reason: sentence })),
  }),
  /** Losses of base and candidate, pooled over those who measured. */
  z.strictObject({
    type: z.literal('scores'),
    run,
    round,
    candidate: digestSchema,
    part,
    languages: z.array(
      z.strictObject({ language: branded(ensureLanguageTag), base: mean, candidate: mean, measurers: count }),
    ),
  }),
  /** `checkpoint`: digest of the manifest that the release key signed. */
  z.strictObject({
    type: z.literal('release'),
    checkpoint: digestSchema,
    run,
    version: count,
    round: count,
    parent: digestSchema.nullable(),
  }),
  z.strictObject({ type: z.literal('release-refused'), run, round, candidate: digestSchema, reason: sentence }),
  /** Contributions were taken back. `revocation`: counted from 1 within the run; `node`: who asked, null for an operator. */
  z.strictObject({
    type: z.literal('revocation-requested'),
    run,
    revocation: round,
    mode: z.enum(['rewind', 'remerge']),
    node: node.nullable(),
    part,
    contributions: z.array(digestSchema),
  }),
  /** Checkpoints that hold them count no longer. `base`: where the run went back to. */
  z.strictObject({
    type: z.literal('superseded'),
    run,
    revocation: round,
    base: digestSchema,
    part,
    checkpoints: z.array(digestSchema),
  }),
  /** It has ended. `notice`: digest of the signed notice; `checkpoint`: what was published instead. */
  z.strictObject({
    type: z.literal('revocation-done'),
    run,
    revocation: round,
    outcome: z.enum(['untouched', 'returned', 'reissued', 'overtaken']),
    checkpoint: digestSchema.nullable(),
    notice: digestSchema.nullable(),
  }),
  /** Operators release what was refused. `gate`: digest of what the gate found; `operators`: of the record by which they may. */
  z.strictObject({
    type: z.literal('release-overridden'),
    run,
    round,
    candidate: digestSchema,
    gate: digestSchema,
    operators: digestSchema,
    signers: z.array(z.strictObject({ key, statement: digestSchema, reason: z.string().max(500) })),
  }),
  /** Who may override from now on. `signers`: by whose keys of the record before; none for the first. */
  z.strictObject({
    type: z.literal('operators-set'),
    record: digestSchema,
    version: count,
    previous: digestSchema.nullable(),
    threshold: count,
    keys: z.array(key),
    signers: z.array(key),
  }),
])

/** What happened. */
export type LedgerEvent = z.output<typeof entrySchema>
/** What happened, and when by the coordinator's clock. */
export type LedgerEntry = LedgerEvent & { readonly at: Millis }

/** The bytes that the tree holds: canonical JSON. */
export function entryBytes(event: LedgerEvent, at: Millis): Uint8Array {
  const fields: { readonly [name: string]: Json } = event
  return canonicalBytes({ ...fields, at })
}

/** The one id that an entry can be asked for by; null for those that are found by reading on. */
export function subjectOf(event: LedgerEvent): string | null {
  switch (event.type) {
    case 'contribution':
      return event.contribution
    case 'release':
      return event.checkpoint
    case 'enrolment':
      return event.node
    case 'record-registered':
    case 'node-keys':
      return event.record
    case 'node-left':
      return event.departure
    default:
      return null
  }
}

/** Reads the bytes of an entry of a kind that this build knows. @throws TapestryError VERIFICATION_FAILED */
export function parseEntry(bytes: Uint8Array): LedgerEntry {
  return parseCanonical(bytes, entryForm, 'log entry')
}

const entryForm = z.looseObject({ at: count }).transform(({ at, ...rest }, context) => {
  const event = entrySchema.safeParse(rest)
  if (event.success) return { ...event.data, at }
  for (const issue of event.error.issues) context.addIssue({ ...issue, code: 'custom' })
  return z.NEVER
})

/** Leaves room in an entry of 65,535 bytes for everything but its list. */
const MAX_LIST_BYTES = 48 * 1024

/** Cuts a list into parts that fit into one entry each; an empty list is one empty part. */
export function partsOf<T extends Json>(items: readonly T[]): { part: { number: number; of: number }; items: T[] }[] {
  const parts: T[][] = [[]]
  let bytes = 0
  for (const item of items) {
    const size = canonicalBytes(item).byteLength + 1
    if (bytes > 0 && bytes + size > MAX_LIST_BYTES) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)?.push(item)
    bytes += size
  }
  return parts.map((own, index) => ({ part: { number: index + 1, of: parts.length }, items: own }))
}
