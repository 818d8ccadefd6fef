import { createPublicKey, generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto'
import { TapestryError } from '../core/error.ts'
import { privateKeyFromPem } from '../core/signature.ts'

/** Ed25519 signs for nodes and authorities; P-256 signs releases, because model-signing tools refuse Ed25519. */
export type KeyKind = 'ed25519' | 'p-256'

/** A key as it is kept in files: PKCS #8 and SPKI, PEM. */
export type KeyFile = { readonly privateKey: string; readonly publicKey: string }

/** Makes a new key from the system's randomness. */
export function generateKey(kind: KeyKind): KeyFile {
  const { privateKey, publicKey } =
    kind === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  return { privateKey: pemOfPrivate(privateKey), publicKey: pemOfPublic(publicKey) }
}

/** The public half of a private key. @throws TapestryError INVALID_ARGUMENT for anything but Ed25519 and P-256. */
export function publicKeyOf(privateKey: string): string {
  return pemOfPublic(createPublicKey(privateKeyFromPem(privateKey)))
}

/**
 * Reads a public key (SPKI, DER) of one of the two kinds.
 * @throws TapestryError INVALID_ARGUMENT otherwise: an RSA key of a stranger's choosing may take minutes to check.
 */
export function publicKeyFromDer(der: Uint8Array): KeyObject {
  let key: KeyObject
  try {
    key = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', 'not a public key', { cause })
  }
  algorithmOf(key)
  return key
}

/** The same key pair for WebCrypto, which is what certificates are made with. */
export async function webKeyPair(privateKey: string): Promise<webcrypto.CryptoKeyPair> {
  const key = privateKeyFromPem(privateKey)
  const algorithm = algorithmOf(key)
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  return {
    privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
  }
}

type WebAlgorithm = { readonly name: 'Ed25519' } | { readonly name: 'ECDSA'; readonly namedCurve: 'P-256' }

function algorithmOf(key: KeyObject): WebAlgorithm {
  if (key.asymmetricKeyType === 'ed25519') return { name: 'Ed25519' }
  if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return { name: 'ECDSA', namedCurve: 'P-256' }
  throw new TapestryError('INVALID_ARGUMENT', 'a key must be Ed25519 or P-256')
}

function pemOfPrivate(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function pemOfPublic(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString()
}
