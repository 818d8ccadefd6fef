import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, type FederationId } from '../core/ids.ts'
import { DOMAINS, publicKeyFromPem, type Signature, signMessage, verifyMessage } from '../core/signature.ts'
import type { FederationRecord } from '../model/federation-record.ts'
import { branded, parseCanonical } from '../model/parsing.ts'
import type { NoteSigner, NoteVerifier } from './note.ts'

/** Which key signs a federation's log: signed by its authority, so that the federation's id vouches for it. */
export type LogRecord = {
  readonly format: 'tapestry-log/1'
  readonly federation: FederationId
  /** First line of every checkpoint, and the name in its signature. */
  readonly origin: string
  /** Ed25519, SPKI, PEM. */
  readonly publicKey: string
}

/** A log record with what proves it. */
export type SignedLogRecord = { readonly bytes: Uint8Array; readonly signature: Signature }

/** What signs a log's checkpoints: given to those who hand them out. */
export type LogSigner = NoteSigner & { readonly record: SignedLogRecord }

const schema: z.ZodType<LogRecord> = z.strictObject({
  format: z.literal('tapestry-log/1'),
  federation: branded(ensureFederationId),
  origin: z.string().max(200),
  publicKey: z.string().max(2_000),
})

/** The name of a federation's log. */
export function originOf(federation: FederationId): string {
  return `tapestry/${federation.slice('sha256:'.length)}`
}

/** Makes the signer of a federation's log, announced under the authority's signature. */
export function logSigner(federation: FederationId, key: KeyObject, authority: KeyObject): LogSigner {
  const origin = originOf(federation)
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
  const bytes = canonicalBytes({ format: 'tapestry-log/1', federation, origin, publicKey })
  return { name: origin, key, record: { bytes, signature: signMessage(authority, DOMAINS.log, bytes) } }
}

/**
 * Reads a log record and proves it by the authority of a federation record that has been proved.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function openLogRecord({ bytes, signature }: SignedLogRecord, federation: FederationRecord): NoteVerifier {
  const record = parseCanonical(bytes, schema, 'log record')
  const { publicKey: authority } = new X509Certificate(federation.caCertificate)
  if (!verifyMessage(authority, DOMAINS.log, bytes, signature)) throw failed('is not signed by the CA key')
  if (record.federation !== federation.id || record.origin !== originOf(federation.id)) {
    throw failed('is of another federation')
  }
  return { name: record.origin, key: ed25519(record.publicKey) }
}

function ed25519(pem: string): KeyObject {
  try {
    const key = publicKeyFromPem(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch (cause) {
    throw failed('holds no key', cause)
  }
  throw failed('holds a key that is not Ed25519')
}

function failed(problem: string, cause?: unknown): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `the log record ${problem}`, { cause })
}
