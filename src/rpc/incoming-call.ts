import type * as grpc from '@grpc/grpc-js'
import { TapestryError } from '../core/error.ts'
import { certificateIdentity } from '../identity/certificate-identity.ts'
import type { AuthContext } from './auth.ts'

type Cancellable = { readonly cancelled: boolean; once(event: 'cancelled', listener: () => void): unknown }

/** Aborted when the call is over, for whatever reason, or when `closing` is. */
export function signalOf(call: Cancellable, closing?: AbortSignal): AbortSignal {
  const controller = new AbortController()
  const stop = () => {
    closing?.removeEventListener('abort', stop)
    controller.abort(stopping())
  }
  if (call.cancelled || closing?.aborted) stop()
  else {
    call.once('cancelled', stop)
    closing?.addEventListener('abort', stop)
  }
  return controller.signal
}

/** Any kind of call, as far as its caller is concerned. */
export type AnyCall = Pick<grpc.ServerUnaryCall<unknown, unknown>, 'getAuthContext' | 'getPeer' | 'metadata'>

/** The verified certificate of the peer, DER: grpc-js gives one only when TLS has accepted it. */
export function certificateOf(call: AnyCall): Uint8Array | undefined {
  try {
    return call.getAuthContext().sslPeerCertificate?.raw
  } catch {
    // The socket closed before the call began: nobody is there to be refused.
    return undefined
  }
}

/**
 * Whose streams are counted together: a node's or operator's over all connections, a stranger's by address. Told by
 * the certificate alone: who opens thousands must not have the database asked about each of them.
 */
export function streamOwner({ federation, clock }: Pick<AuthContext, 'federation' | 'clock'>, call: AnyCall): string {
  const certificate = certificateOf(call)
  const identity = certificate && certificateIdentity(certificate, federation, clock.now())
  if (identity === undefined) return call.getPeer().replace(/:\d+$/, '')
  return identity.kind === 'node' ? identity.node : identity.name
}

/** What a caller is told whose stream ends because the server, or the call, is over. */
export function stopping(): TapestryError {
  return new TapestryError('UNAVAILABLE', 'the stream has ended', { hint: 'connect again' })
}
