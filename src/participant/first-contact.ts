import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import type { Address } from './address.ts'

const PROBE_MS = 15_000

/**
 * The federation that a coordinator claims to be, for a caller who has nothing to compare it with. It proves nothing:
 * pin it, then connect with it pinned, which does.
 * @throws TapestryError UNAVAILABLE when nobody answers; VERIFICATION_FAILED when no authority is presented.
 */
export function presentedFederation({ host, port, text }: Address): Promise<FederationId> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      // Nothing is trusted and nothing is sent.
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2'],
      ...(isIP(host) === 0 ? { servername: host } : {}),
    })
    socket.setTimeout(PROBE_MS, () => socket.destroy(new Error('no answer in time')))
    socket.once('error', (cause) => {
      reject(new TapestryError('UNAVAILABLE', `no TLS connection to ${text}: ${cause.message}`, { cause }))
    })
    socket.once('secureConnect', () => {
      const authority = authorityOf(socket)
      socket.destroy()
      if (authority !== undefined) resolve(fingerprintOf(authority))
      else reject(new TapestryError('VERIFICATION_FAILED', `${text} is no coordinator: it presents no authority`))
    })
  })
}

function authorityOf(socket: TLSSocket): X509Certificate | undefined {
  try {
    const raw = socket.getPeerCertificate(true).issuerCertificate?.raw
    const issuer = raw === undefined ? undefined : new X509Certificate(raw)
    return issuer?.ca === true ? issuer : undefined
  } catch {
    return undefined
  }
}
