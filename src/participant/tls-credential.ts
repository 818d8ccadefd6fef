import { createPublicKey, X509Certificate } from 'node:crypto'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { FederationId, NodeId } from '../core/ids.ts'
import { DOMAINS, keyIdOf, privateKeyFromPem, type Signature, signMessage } from '../core/signature.ts'
import { certificateIdentity } from '../identity/certificate-identity.ts'
import { createCertificateRequest } from '../identity/certificate-request.ts'
import { generateKey } from '../identity/key-file.ts'
import type { ClientIdentity } from './channel.ts'

/** A request for a client certificate over a fresh TLS key, bound to the node by its node key. */
export type CertificateRequest = { readonly key: string; readonly der: Uint8Array; readonly signature: Signature }

/** @param nodeKey PEM. */
export async function requestCertificate(nodeKey: string): Promise<CertificateRequest> {
  const key = generateKey('ed25519').privateKey
  const der = await createCertificateRequest(key)
  return { key, der, signature: signMessage(privateKeyFromPem(nodeKey), DOMAINS.enrolment, der) }
}

/**
 * Checks that a coordinator issued what was asked for, before anything older is replaced by it.
 * @param authority PEM of the federation's CA certificate.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function checkCertificate(
  identity: ClientIdentity,
  expected: { readonly federation: FederationId; readonly node: NodeId; readonly authority: string },
  now: Millis,
): ClientIdentity {
  const certificate = parse(identity.certificate)
  const ours = keyIdOf(createPublicKey(privateKeyFromPem(identity.key)))
  if (keyIdOf(certificate.publicKey) !== ours) throw failed('is for another key')
  if (!certificate.verify(new X509Certificate(expected.authority).publicKey)) {
    throw failed('is not signed by the federation')
  }
  const holder = certificateIdentity(certificate.raw, expected.federation, now)
  if (holder?.kind !== 'node' || holder.node !== expected.node) throw failed('is not valid for this node at this time')
  return identity
}

/** When a certificate begins and ends. */
export function validityOf(certificate: string): { readonly from: Millis; readonly to: Millis } {
  const { validFrom, validTo } = parse(certificate)
  return { from: Date.parse(validFrom), to: Date.parse(validTo) }
}

/** Key and certificate as one file. */
export function tlsPem({ key, certificate }: ClientIdentity): string {
  return `${key.trim()}\n${certificate.trim()}\n`
}

/** Reads {@link tlsPem} back. @throws TapestryError DATA_INVALID */
export function parseTlsPem(text: string): ClientIdentity {
  const key = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/.exec(text)?.[0]
  const certificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text)?.[0]
  if (key === undefined || certificate === undefined) {
    throw new TapestryError('DATA_INVALID', 'tls.pem does not hold a key and a certificate')
  }
  return { key: `${key}\n`, certificate: `${certificate}\n` }
}

function parse(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', 'the coordinator sent something that is no certificate', { cause })
  }
}

function failed(detail: string): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `the certificate that the coordinator issued ${detail}`)
}
