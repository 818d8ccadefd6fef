import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls'
import { TapestryError } from '../core/error.ts'

const PROBE_MS = 15_000
/** Longer chains than leaf and authority are not ours. */
const MOST_CERTIFICATES = 4

/**
 * The certificates that a server presents, its own first, for callers who do not know yet whom to trust: nothing is
 * sent. TLS itself has proved that the server holds the key of the first one; nothing else is proved.
 * @throws TapestryError UNAVAILABLE when nobody answers; VERIFICATION_FAILED for certificates that cannot be read.
 */
export function presentedChain(host: string, port: number): Promise<X509Certificate[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      // Whoever calls this has only a fingerprint, or nothing, to compare with.
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
        reject(unreadable(host, port, cause))
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

function unreadable(host: string, port: number, cause: unknown): TapestryError {
  const message = `${host}:${port} presents no readable certificates`
  return new TapestryError('VERIFICATION_FAILED', message, { cause, hint: 'check that this is a coordinator' })
}

function unreachable(host: string, port: number, cause: Error): TapestryError {
  return new TapestryError('UNAVAILABLE', `no TLS connection to ${host}:${port}: ${cause.message}`, {
    cause,
    hint: 'check the address, and that the coordinator is running',
  })
}
