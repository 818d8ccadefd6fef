import type { ErrorCode } from '../core/error.ts'
import type { Instruments } from './instruments.ts'
import { type Headers, requestIdOf, traceParentOf } from './request-id.ts'
import type { Tracer } from './tracer.ts'

/** What is watched of a method: its path, and whether it sends a stream. */
export type WatchedMethod = { readonly path: string; readonly streams: boolean }

/** One call while it lasts. */
export type Call = {
  /** Names the call in logs and in the caller's hands. */
  readonly requestId: string
  received(bytes: number): void
  sent(bytes: number): void
  /** To be called once. */
  end(code: ErrorCode | 'OK'): void
}

/** Begins to watch a call. */
export type CallWatch = (method: WatchedMethod, headers: Headers) => Call

/** Names calls and counts nothing. */
export const UNWATCHED: CallWatch = (_, headers) => ({
  requestId: requestIdOf(headers),
  received() {},
  sent() {},
  end() {},
})

/** Counts, times and traces calls. */
export function watchCalls(instruments: Instruments, tracer: Tracer): CallWatch {
  return ({ path, streams }, headers) => {
    const { calls, callSeconds, openStreams, callBytes } = instruments
    const method = path.replace(/^\/tapestry\.v\d+\./, '')
    const requestId = requestIdOf(headers)
    const attributes = { 'rpc.system': 'grpc', 'rpc.method': method, 'tapestry.request_id': requestId }
    const span = tracer.begin(method, 'server', attributes, traceParentOf(headers))
    const stop = streams ? undefined : callSeconds.startTimer({ method })
    if (streams) openStreams.inc({ method })
    return {
      requestId,
      received: (bytes) => callBytes.inc({ direction: 'received' }, bytes),
      sent: (bytes) => callBytes.inc({ direction: 'sent' }, bytes),
      end(code) {
        stop?.()
        if (streams) openStreams.dec({ method })
        calls.inc({ method, code })
        span.end(code)
      },
    }
  }
}
