import type { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import { isValidAt } from '../identity/certificate-identity.ts'
import { parseAddress } from '../identity/invitation.ts'
import { presentedChain } from './presented-chain.ts'

/**
 * Finds a federation's authority by its fingerprint: connects, sends nothing, and looks at the certificates that the
 * server presents. TLS itself has proved that the server holds the key of the first one.
 * @param address `host:port`.
 * @returns the authority's certificate, PEM: the only root to trust for every connection that follows.
 * @throws TapestryError WRONG_FEDERATION when the server is not this federation's; VERIFICATION_FAILED for certificates
 *   that cannot be read; UNAVAILABLE when none answers.
 */
export async function pinAuthority(
  address: string,
  federation: FederationId,
  now: number = Date.now(),
): Promise<string> {
  const { host, port } = parseAddress(address)
  const [leaf, ...issuers] = await presentedChain(host, port)
  const authority = issuers.find((certificate) => fingerprintOf(certificate) === federation)
  if (!leaf || !authority) throw wrong(`${address} does not present the authority ${federation}`)
  if (!isAuthority(authority, now)) throw wrong(`${address} presents an authority that is none, or not valid now`)
  if (!isServer(leaf, authority, host, now)) throw wrong(`${address} holds no valid certificate of ${federation}`)
  return authority.toString()
}

function isAuthority(certificate: X509Certificate, now: number): boolean {
  return certificate.ca && certificate.verify(certificate.publicKey) && isValidAt(certificate, now)
}

function isServer(leaf: X509Certificate, authority: X509Certificate, host: string, now: number): boolean {
  const named = isIP(host) === 0 ? leaf.checkHost(host) : leaf.checkIP(host)
  const issued = leaf.checkIssued(authority) && leaf.verify(authority.publicKey)
  // The authority's own certificate signs and never serves.
  return named !== undefined && issued && !leaf.ca && isValidAt(leaf, now)
}

function wrong(message: string): TapestryError {
  return new TapestryError('WRONG_FEDERATION', message, {
    hint: 'ask whoever sent the invitation for a new one, and check the address',
  })
}
