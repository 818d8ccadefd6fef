import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureRoundNumber, ensureRunId, type FederationId, type RunId } from '../core/ids.ts'
import { DOMAINS, type Signature, signMessage } from '../core/signature.ts'
import { type Operator, openOperatorRecord, type SignedOperatorRecord, signerOf } from './operator-record.ts'
import { branded, digestSchema, parseCanonical, printableText, signatureSchema } from './parsing.ts'

/** What an operator signs: that this candidate is to be released although the gate found this. */
export type OverrideStatement = OverrideSubject & {
  readonly format: 'tapestry-override/1'
  /** Why, in a sentence that everybody who downloads the checkpoint will read. */
  readonly reason: string
}

/** What an override is about. `candidate`: digest of the weights file; `gate`: digest of what the gate found. */
export type OverrideSubject = {
  readonly federation: FederationId
  readonly run: RunId
  readonly round: number
  readonly candidate: Digest
  readonly gate: Digest
}

export type SignedStatement = { readonly statement: string; readonly signature: Signature }

/** All that proves an override to a stranger who trusts the federation's authority. */
export type Override = {
  readonly operators: SignedOperatorRecord
  /** In order of key id, each key once. */
  readonly statements: readonly SignedStatement[]
}

/** Who signed, and why. */
export type OverrideSigner = { readonly operator: Operator; readonly reason: string }

const MAX_REASON = 500

const statementSchema: z.ZodType<OverrideStatement> = z.strictObject({
  format: z.literal('tapestry-override/1'),
  federation: branded(ensureFederationId),
  run: branded(ensureRunId),
  round: z.number().transform(ensureRoundNumber),
  candidate: digestSchema,
  gate: digestSchema,
  reason: printableText(MAX_REASON).refine((text) => text.trim() !== '', 'no reason is given'),
})

/** Its form; {@link verifyOverride} says whether it holds. */
export const overrideSchema: z.ZodType<Override> = z.strictObject({
  operators: z.strictObject({ record: z.string().max(300_000), signature: signatureSchema }),
  statements: z
    .array(z.strictObject({ statement: z.string().max(4_000), signature: signatureSchema }))
    .min(1)
    .max(100),
})

/** Signs a statement. @throws TapestryError INVALID_ARGUMENT for a reason that is empty, too long or not one line */
export function signOverride(subject: OverrideSubject, reason: string, key: KeyObject): SignedStatement {
  const bytes = canonicalBytes({ format: 'tapestry-override/1', ...subject, reason })
  try {
    parseOverrideStatement(bytes)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', `a reason is one line of 1 to ${MAX_REASON} characters`, { cause })
  }
  return { statement: Buffer.from(bytes).toString('utf8'), signature: signMessage(key, DOMAINS.override, bytes) }
}

/** Reads a statement from anywhere; who signed it is another question. @throws TapestryError VERIFICATION_FAILED */
export function parseOverrideStatement(bytes: Uint8Array): OverrideStatement {
  return parseCanonical(bytes, statementSchema, 'override')
}

/** @throws TapestryError VERIFICATION_FAILED when a statement is about something else: a replay, whoever signed it. */
export function requireSubject(statement: OverrideStatement, subject: OverrideSubject): void {
  for (const name of ['federation', 'run', 'round', 'candidate', 'gate'] as const) {
    if (statement[name] !== subject[name]) throw failed(`a statement was signed for another ${name}`)
  }
}

/**
 * Proves that enough operators of the federation signed for exactly this candidate and this finding of the gate.
 * @param authority from a federation record that has been proved
 * @returns who signed, and why
 * @throws TapestryError VERIFICATION_FAILED
 */
export function verifyOverride(
  { operators, statements }: Override,
  subject: OverrideSubject,
  authority: { readonly id: FederationId; readonly caCertificate: string },
): readonly OverrideSigner[] {
  const record = openOperatorRecord(operators, authority)
  const signers = statements.map(({ statement, signature }) => {
    const bytes = Buffer.from(statement, 'utf8')
    const parsed = parseOverrideStatement(bytes)
    requireSubject(parsed, subject)
    const operator = signerOf(record, DOMAINS.override, bytes, signature)
    if (operator === undefined) throw failed('a statement is not signed by an operator of this federation')
    return { operator, reason: parsed.reason }
  })
  const distinct = new Set(signers.map(({ operator }) => operator.keyId)).size
  if (distinct < signers.length) throw failed('a key has signed twice')
  if (distinct < record.threshold) throw failed(`${distinct} of the ${record.threshold} operators needed have signed`)
  return signers
}

const failed = (detail: string) => new TapestryError('VERIFICATION_FAILED', `override: ${detail}`)
