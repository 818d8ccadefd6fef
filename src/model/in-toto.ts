import { z } from 'zod'
import { canonicalBytes, type Json } from '../core/canonical-json.ts'
import { type Digest, hexOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { ReleasedFile } from './manifest.ts'
import { parseWith } from './parsing.ts'

/** A thing by name and SHA-256, as in-toto names it (in-toto/attestation, spec/v1/resource_descriptor.md). */
export type ResourceDescriptor = {
  readonly name: string
  readonly digest: { readonly sha256: string }
  readonly uri?: string
  readonly mediaType?: string
  readonly annotations?: { readonly [key: string]: Json }
}

/** in-toto Statement v1 (in-toto/attestation, spec/v1/statement.md): what `predicate` says, it says of `subject`. */
export type Statement<Predicate extends Json = Json> = {
  readonly _type: typeof STATEMENT_TYPE
  readonly subject: readonly ResourceDescriptor[]
  readonly predicateType: string
  readonly predicate: Predicate
}

const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1'

/** What is checked of a descriptor; whatever else it says is left unread. */
export const descriptorSchema = z.looseObject({
  name: z.string(),
  digest: z.looseObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
})

/** The canonical bytes of a statement: what is signed. */
export function statementBytes<Predicate extends Json>(
  subject: readonly ResourceDescriptor[],
  predicateType: string,
  predicate: Predicate,
): Uint8Array {
  const statement: Statement<Predicate> = { _type: STATEMENT_TYPE, subject, predicateType, predicate }
  return canonicalBytes(statement)
}

/**
 * Reads a statement whose signature holds. Members that the schema does not know are allowed: a later
 * build of the coordinator may say more.
 * @throws TapestryError VERIFICATION_FAILED for another form, or another type of predicate
 */
export function parseStatement<Predicate>(
  bytes: Uint8Array,
  predicateType: string,
  predicate: z.ZodType<Predicate>,
  name: string,
): { readonly subject: readonly ResourceDescriptor[]; readonly predicate: Predicate } {
  const schema = z.looseObject({
    _type: z.literal(STATEMENT_TYPE),
    subject: z.array(descriptorSchema),
    predicateType: z.literal(predicateType),
    predicate,
  })
  const { subject, predicate: parsed } = parseWith(bytes, schema, name)
  return { subject: subject.map(plainDescriptor), predicate: parsed }
}

/** A file of a release as a descriptor. */
export function fileDescriptor({ path, digest }: Pick<ReleasedFile, 'path' | 'digest'>): ResourceDescriptor {
  return { name: path, digest: sha256(digest) }
}

export const sha256 = (digest: Digest) => ({ sha256: hexOf(digest) })

/**
 * Proves that a statement names exactly these files: none more, none less, none twice, none otherwise.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function requireSameFiles(
  found: readonly ResourceDescriptor[],
  expected: readonly ResourceDescriptor[],
  name: string,
): void {
  const listed = found.map(lineOf).sort()
  const wanted = expected.map(lineOf).sort()
  if (listed.length === wanted.length && listed.every((one, index) => one === wanted[index])) return
  throw new TapestryError('VERIFICATION_FAILED', `${name} is about other files than this checkpoint's`)
}

/** Digest and name in one text: equal for descriptors of the same thing. */
export const lineOf = ({ name, digest }: Pick<ResourceDescriptor, 'name' | 'digest'>) => `${digest.sha256} ${name}`

const plainDescriptor = ({ name, digest }: z.output<typeof descriptorSchema>): ResourceDescriptor => ({
  name,
  digest: { sha256: digest.sha256 },
})
