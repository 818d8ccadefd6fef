import { type KeyObject, X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureMemberId, type FederationId } from '../core/ids.ts'
import { compareText } from '../core/order.ts'
import { DOMAINS, keyIdOf, publicKeyFromPem, type Signature, signMessage, verifyMessage } from '../core/signature.ts'
import { branded, digestSchema, parseCanonical } from './parsing.ts'

/** One of those who decide together. `name`: the office that holds the key, a slug; `keyId`: hex SHA-256 of its SPKI; `publicKey`: PEM. */
export type Operator = { readonly name: string; readonly keyId: string; readonly publicKey: string }

/** Which keys may override a blocked release together, and how many of them it takes. */
export type OperatorRecord = {
  readonly format: 'tapestry-operators/1'
  readonly federation: FederationId
  /** Counts the federation's records, from 1. */
  readonly version: number
  /** Digest of the record before; null for the first. */
  readonly previous: Digest | null
  /** From 1 to the number of operators. */
  readonly threshold: number
  /** In order of key id. */
  readonly operators: readonly Operator[]
}

/** An operator record, as text, with the authority's signature. */
export type SignedOperatorRecord = { readonly record: string; readonly signature: Signature }

/** More offices than any charter has; each signature is checked in turn. */
const MOST_OPERATORS = 100

const recordSchema: z.ZodType<OperatorRecord> = z.strictObject({
  format: z.literal('tapestry-operators/1'),
  federation: branded(ensureFederationId),
  version: z.int().min(1).max(0x7fffffff),
  previous: digestSchema.nullable(),
  threshold: z.int().min(1),
  operators: z
    .array(
      z.strictObject({
        name: branded(ensureMemberId),
        keyId: z.string().regex(/^[0-9a-f]{64}$/),
        publicKey: z.string().max(2_000),
      }),
    )
    .min(1)
    .max(MOST_OPERATORS),
})

/**
 * Puts a record together; operators may come in any order.
 * @throws TapestryError INVALID_ARGUMENT for a threshold that is not from 1 to the number of operators, a key or a
 *   name that comes twice, or a key that is neither Ed25519 nor P-256
 */
export function operatorRecordBytes(
  facts: Pick<OperatorRecord, 'federation' | 'version' | 'previous' | 'threshold'>,
  keys: readonly { readonly name: string; readonly publicKey: string }[],
): Uint8Array {
  const operators = keys.map(({ name, publicKey }) => {
    const key = publicKeyFromPem(publicKey)
    return { name, keyId: keyIdOf(key), publicKey: pemOf(key) }
  })
  operators.sort((a, b) => compareText(a.keyId, b.keyId))
  const bytes = canonicalBytes({ format: 'tapestry-operators/1', ...facts, operators })
  try {
    parseOperatorRecord(bytes)
  } catch (cause) {
    const why = cause instanceof TapestryError ? cause.message : 'not valid'
    throw new TapestryError('INVALID_ARGUMENT', why, { cause })
  }
  return bytes
}

/** Reads a record from anywhere; who signed it is another question. @throws TapestryError VERIFICATION_FAILED */
export function parseOperatorRecord(bytes: Uint8Array): OperatorRecord {
  const record = parseCanonical(bytes, recordSchema, 'operator record')
  const { operators, threshold, version, previous } = record
  if (threshold > operators.length) throw failed(`${threshold} of ${operators.length} operators cannot sign`)
  for (const { keyId, publicKey } of operators) {
    const key = keyOf(publicKey)
    if (keyIdOf(key) !== keyId || pemOf(key) !== publicKey) throw failed('a key is not the one it is listed as')
  }
  if (!ascend(operators.map(({ keyId }) => keyId))) throw failed('the keys are not in order, or one is listed twice')
  if (new Set(operators.map(({ name }) => name)).size < operators.length) throw failed('two operators have one name')
  if ((version === 1) !== (previous === null)) throw failed('every record but the first names the one before')
  return record
}

/** Lets a record stand, by the federation's authority. */
export function signOperatorRecord(bytes: Uint8Array, authority: KeyObject): SignedOperatorRecord {
  return {
    record: Buffer.from(bytes).toString('utf8'),
    signature: signMessage(authority, DOMAINS.operators, bytes),
  }
}

/**
 * Reads a record that the authority has let stand.
 * @param caCertificate PEM, from a federation record that has been proved
 * @throws TapestryError VERIFICATION_FAILED
 */
export function openOperatorRecord(
  { record, signature }: SignedOperatorRecord,
  federation: { readonly id: FederationId; readonly caCertificate: string },
): OperatorRecord {
  const bytes = Buffer.from(record, 'utf8')
  const parsed = parseOperatorRecord(bytes)
  const { publicKey: authority } = new X509Certificate(federation.caCertificate)
  if (!verifyMessage(authority, DOMAINS.operators, bytes, signature)) throw failed('it is not signed by the CA key')
  if (parsed.federation !== federation.id) throw failed('it is of another federation')
  return parsed
}

/** How a record is named. */
export function operatorRecordDigest({ record }: Pick<SignedOperatorRecord, 'record'>): Digest {
  return digestOf(record)
}

/** The operator whose key made a signature; undefined for a key that is not listed, or a signature that does not hold. */
export function signerOf(
  { operators }: OperatorRecord,
  domain: typeof DOMAINS.operators | typeof DOMAINS.override,
  bytes: Uint8Array,
  signature: Signature,
): Operator | undefined {
  const operator = operators.find(({ keyId }) => keyId === signature.keyId)
  if (operator === undefined) return undefined
  return verifyMessage(publicKeyFromPem(operator.publicKey), domain, bytes, signature) ? operator : undefined
}

function keyOf(pem: string): KeyObject {
  try {
    return publicKeyFromPem(pem)
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', 'operator record: a key is not valid', { cause })
  }
}

/** One key has one text, so that one record has one digest. */
const pemOf = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()

function ascend(texts: readonly string[]): boolean {
  return texts.every((text, index) => index === 0 || (texts[index - 1] ?? '') < text)
}

const failed = (detail: string) => new TapestryError('VERIFICATION_FAILED', `operator record: ${detail}`)
