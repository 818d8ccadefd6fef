import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { TapestryError } from './error.ts'

/**
 * What a signature is for. The domain is part of the signed bytes, so a signature made for one
 * purpose can never be replayed as another.
 */
export const DOMAINS = {
  genesis: 'tapestry/genesis/v1',
  enrolment: 'tapestry/enrolment/v1',
  contribution: 'tapestry/contribution/v1',
  evaluation: 'tapestry/evaluation/v1',
  review: 'tapestry/review/v1',
  federation: 'tapestry/federation/v1',
  manifest: 'tapestry/manifest/v1',
  receipt: 'tapestry/receipt/v1',
  record: 'tapestry/record/v1',
  withdrawal: 'tapestry/withdrawal/v1',
  /** in-toto statements: the type that DSSE gives them, so that other people's tools verify them too. */
  statement: 'application/vnd.in-toto+json',
  log: 'tapestry/log/v1',
  keys: 'tapestry/keys/v1',
  departure: 'tapestry/departure/v1',
  supersession: 'tapestry/supersession/v1',
  operators: 'tapestry/operators/v1',
  override: 'tapestry/override/v1',
} as const

export type Domain = (typeof DOMAINS)[keyof typeof DOMAINS]

/** A detached signature over `message` in a domain. */
export type Signature = {
  /** Hex SHA-256 of the signer's public key (SPKI, DER). */
  readonly keyId: string
  /** Base64 of the raw Ed25519 signature, or of the DER ECDSA P-256 signature. */
  readonly value: string
}

/** DSSE's pre-authentication encoding, with the domain as its type: unambiguous by length prefixes. */
function signedBytes(domain: Domain, message: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(domain)} ${domain} ${message.byteLength} `
  return Buffer.concat([Buffer.from(head, 'utf8'), message])
}

function hashFor(key: KeyObject): 'sha256' | null {
  return key.asymmetricKeyType === 'ed25519' ? null : 'sha256'
}

/** Signs `message` with an Ed25519 or P-256 private key. */
export function signMessage(privateKey: KeyObject, domain: Domain, message: Uint8Array): Signature {
  const value = sign(hashFor(privateKey), signedBytes(domain, message), privateKey)
  return { keyId: keyIdOf(createPublicKey(privateKey)), value: value.toString('base64') }
}

/** True only if `signature` was made by the holder of `publicKey` over exactly this domain and message. */
export function verifyMessage(
  publicKey: KeyObject,
  domain: Domain,
  message: Uint8Array,
  signature: Signature,
): boolean {
  if (signature.keyId !== keyIdOf(publicKey)) return false
  try {
    return verify(hashFor(publicKey), signedBytes(domain, message), publicKey, Buffer.from(signature.value, 'base64'))
  } catch {
    return false
  }
}

/** Hex SHA-256 of a public key's SPKI DER. */
export function keyIdOf(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

/** Reads a PEM public key of one of the two kinds we use. @throws TapestryError INVALID_ARGUMENT otherwise. */
export function publicKeyFromPem(pem: string): KeyObject {
  return parseKey(pem, createPublicKey, 'public')
}

/** Reads a PEM private key of one of the two kinds we use. @throws TapestryError INVALID_ARGUMENT otherwise. */
export function privateKeyFromPem(pem: string): KeyObject {
  return parseKey(pem, createPrivateKey, 'private')
}

function parseKey(pem: string, parse: (pem: string) => KeyObject, kind: string): KeyObject {
  let key: KeyObject
  try {
    key = parse(pem)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', `not a PEM ${kind} key`, { cause })
  }
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (key.asymmetricKeyType !== 'ed25519' && curve !== 'prime256v1') {
    throw new TapestryError('INVALID_ARGUMENT', `a ${kind} key must be Ed25519 or P-256`)
  }
  return key
}
