import 'reflect-metadata'
import type { KeyObject } from 'node:crypto'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'
import { TapestryError } from '../core/error.ts'
import { publicKeyFromDer, webKeyPair } from './key-file.ts'

/** A request for one small key is some 200 bytes; the rest of this is room for other makers' attributes. */
const MOST_REQUEST_BYTES = 4096

/** Makes a PKCS #10 request (DER) for a TLS key (PEM). It claims nothing: the authority decides who it is for. */
export async function createCertificateRequest(privateKey: string): Promise<Uint8Array> {
  const keys = await webKeyPair(privateKey)
  const signingAlgorithm = signingAlgorithmOf(keys.privateKey.algorithm.name)
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    { name: 'CN=tapestry', keys, signingAlgorithm },
    webcrypto,
  )
  return new Uint8Array(request.rawData)
}

/**
 * Reads the public key out of a request and checks that its sender holds the private one (RFC 2986, 4.2).
 * Whatever else the request claims is ignored.
 * @throws TapestryError INVALID_ARGUMENT for anything malformed; VERIFICATION_FAILED when the signature is wrong.
 */
export async function requestedKey(der: Uint8Array): Promise<KeyObject> {
  const request = parseRequest(der)
  const key = publicKeyFromDer(new Uint8Array(request.publicKey.rawData))
  if (!(await verifies(request))) {
    throw new TapestryError('VERIFICATION_FAILED', 'the certificate request is not signed by its own key')
  }
  return key
}

/** WebCrypto's names for how a key of each kind signs certificates. */
export function signingAlgorithmOf(keyAlgorithm: string): { name: string; hash?: string } {
  return keyAlgorithm === 'Ed25519' ? { name: 'Ed25519' } : { name: 'ECDSA', hash: 'SHA-256' }
}

function parseRequest(der: Uint8Array): x509.Pkcs10CertificateRequest {
  if (der.byteLength === 0 || der.byteLength > MOST_REQUEST_BYTES) {
    throw new TapestryError('INVALID_ARGUMENT', `a certificate request has 1 to ${MOST_REQUEST_BYTES} bytes`)
  }
  try {
    return new x509.Pkcs10CertificateRequest(Uint8Array.from(der).buffer)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', 'not a PKCS #10 certificate request', { cause })
  }
}

async function verifies(request: x509.Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify(webcrypto)
  } catch {
    return false
  }
}
