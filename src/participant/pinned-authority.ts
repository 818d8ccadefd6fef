import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import { isValidAt } from '../identity/certificate-identity.ts'
import { parseAddress } from '../identity/invitation.ts'

const PROBE_MS = 15_000
/** Longer chains than leaf and authority are not ours. */
const MOST_CERTIFICATES = 4

/**
 * Finds a federation's authority by its fingerprint: connects, sends nothing, and looks at the certificates that the
 * server presents. TLS itself has proved that the server holds the key of the first one.
 * @param address `host:port`.
 * @returns the authority's certificate, PEM: the only root to trust for every connection that follows.
 * @throws TapestryError WRONG_FEDERATION when the server is not this federation's; UNAVAILABLE when none answers.
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

function presentedChain(host: string, port: number): Promise<X509Certificate[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      // Nothing is trusted yet: the fingerprint decides, and no byte is sent before it has.
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2', 'http/1.1'],
      ...(isIP(host) === 0 ? { servername: host } : {}),
    })
    socket.setTimeout(PROBE_MS, () => socket.destroy(new Error('no answer in time')))
    socket.once('error', (cause) => reject(unreachable(host, port, cause)))
    socket.once('secureConnect', () => {
      try {
        resolve(chainOf(socket))
      } catch (cause) {
        reject(wrong(`${host}:${port} presents no readable certificates`, cause))
      }
      socket.destroy()
    })
  })
}

function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = []
  const seen = new Set<string>()
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  // A self-signed certificate is its own issuer.
  while (next?.raw && !seen.has(next.fingerprint256) && chain.length < MOST_CERTIFICATES) {
    seen.add(next.fingerprint256)
    chain.push(new X509Certificate(next.raw))
    next = next.issuerCertificate
  }
  return chain
}

function wrong(message: string, cause?: unknown): TapestryError {
  return new TapestryError('WRONG_FEDERATION', message, {
    cause,
    hint: 'ask whoever sent the invitation for a new one, and check the address',
  })
}

function unreachable(host: string, port: number, cause: Error): TapestryError {
  return new TapestryError('UNAVAILABLE', `no TLS connection to ${host}:${port}: ${cause.message}`, {
    cause,
    hint: 'check the address, and that the coordinator is running',
  })
}
