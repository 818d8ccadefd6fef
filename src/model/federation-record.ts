import { type KeyObject, X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import { ensureFederationId, type FederationId } from '../core/ids.ts'
import { DOMAINS, keyIdOf, publicKeyFromPem, type Signature, signMessage, verifyMessage } from '../core/signature.ts'
import { branded, parseCanonical } from './parsing.ts'

/** A key that may sign releases. `keyId`: hex SHA-256 of its SPKI; `publicKey`: PEM. */
export type ReleaseKey = { readonly keyId: string; readonly publicKey: string }

/** Who a federation is: its name, its certificate authority, and the keys that sign its releases. */
export type FederationRecord = {
  readonly format: 'tapestry-federation/1'
  /** The fingerprint of the CA's key, see {@link federationIdOf}: it pins everything else. */
  readonly id: FederationId
  readonly name: string
  /** PEM. */
  readonly caCertificate: string
  readonly releaseKeys: readonly ReleaseKey[]
}

const recordSchema = z.strictObject({
  format: z.literal('tapestry-federation/1'),
  id: branded(ensureFederationId),
  name: z.string().min(1).max(200),
  caCertificate: z.string().max(20_000),
  releaseKeys: z
    .array(z.strictObject({ keyId: z.string().regex(/^[0-9a-f]{64}$/), publicKey: z.string().max(2_000) }))
    .min(1)
    .max(100),
})

/**
 * `sha256:<hex>` of the CA certificate's public key (SPKI, DER): it survives renewal of the certificate.
 * @throws TapestryError VERIFICATION_FAILED when the text is not one PEM certificate
 */
export function federationIdOf(caCertificatePem: string): FederationId {
  return fingerprintOf(parseCertificate(caCertificatePem))
}

/** Signs a record with the key of its CA. @returns the canonical bytes and their signature */
export function signFederationRecord(
  record: FederationRecord,
  caPrivateKey: KeyObject,
): { bytes: Uint8Array; signature: Signature } {
  const bytes = canonicalBytes(record)
  const signature = signMessage(caPrivateKey, DOMAINS.federation, bytes)
  parseFederationRecord(bytes, signature)
  return { bytes, signature }
}

/**
 * Reads a record from anywhere and proves it: canonical bytes, signed by the key of the CA
 * certificate inside, whose fingerprint is the id.
 * @param expectedId the federation that the caller trusts; without it the record proves only that it is consistent
 * @throws TapestryError VERIFICATION_FAILED, or WRONG_FEDERATION for a sound record of another federation
 */
export function parseFederationRecord(bytes: Uint8Array, signature: Signature, expectedId?: string): FederationRecord {
  const record = parseCanonical(bytes, recordSchema, 'federation record')
  checkAuthority(record, bytes, signature)
  checkReleaseKeys(record.releaseKeys)
  if (expectedId !== undefined && record.id !== expectedId) {
    throw new TapestryError('WRONG_FEDERATION', `this is the federation ${record.id}, not ${expectedId.slice(0, 80)}`, {
      hint: 'Compare the federation id with the one on your invitation, or with the operator.',
    })
  }
  return record
}

function checkAuthority(record: FederationRecord, bytes: Uint8Array, signature: Signature): void {
  const certificate = parseCertificate(record.caCertificate)
  if (!certificate.ca) throw failed('the certificate is not one of a certificate authority')
  if (federationIdOf(record.caCertificate) !== record.id) throw failed('the id is not the fingerprint of the CA key')
  if (!verifyMessage(certificate.publicKey, DOMAINS.federation, bytes, signature)) {
    throw failed('the signature is not by the CA key')
  }
}

function checkReleaseKeys(keys: readonly ReleaseKey[]): void {
  for (const { keyId, publicKey } of keys) {
    if (keyIdOf(releaseKey(publicKey)) !== keyId)
      throw failed('a release key does not have the key id it is listed under')
  }
  if (new Set(keys.map(({ keyId }) => keyId)).size !== keys.length) throw failed('a release key is listed twice')
}

function releaseKey(pem: string): KeyObject {
  try {
    return publicKeyFromPem(pem)
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', 'federation record: a release key is not valid', { cause })
  }
}

function parseCertificate(pem: string): X509Certificate {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(pem)
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', 'federation record: not a PEM certificate', { cause })
  }
  // The parser stops after the first certificate: whatever else is in the text would go unread.
  if (withoutSpace(certificate.toString()) !== withoutSpace(pem)) throw failed('more than one certificate')
  return certificate
}

const withoutSpace = (text: string) => text.replaceAll(/\s+/g, '')

const failed = (detail: string) => new TapestryError('VERIFICATION_FAILED', `federation record: ${detail}`)
