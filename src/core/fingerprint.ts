import type { X509Certificate } from 'node:crypto'
import { ensureFederationId, type FederationId } from './ids.ts'
import { keyIdOf } from './signature.ts'

/** `sha256:<hex>` of a certificate's public key (SPKI, DER): it survives renewal of the certificate. */
export function fingerprintOf(certificate: X509Certificate): FederationId {
  return ensureFederationId(`sha256:${keyIdOf(certificate.publicKey)}`)
}
