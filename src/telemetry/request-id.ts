import { randomUUID } from 'node:crypto'
import { REQUEST_ID_KEY } from '../core/grpc-service.ts'

/** W3C Trace Context: `00-<trace id>-<parent span id>-<flags>`. */
export const TRACE_PARENT_KEY = 'traceparent'

/** What goes into log lines as it is: no spaces, quotes or control characters, and no more than a line holds. */
const REQUEST_ID = /^[\w.:/+=-]{1,128}$/
const TRACE_PARENT = /^[\da-f]{2}-([\da-f]{32})-([\da-f]{16})-[\da-f]{2}$/

/** Reads one header of a request; undefined when it was not sent. */
export type Headers = (name: string) => string | undefined

/** Where a trace came from. */
export type TraceParent = { readonly traceId: string; readonly spanId: string }

/** The caller's trace, if it sent a well-formed one. */
export function traceParentOf(headers: Headers): TraceParent | undefined {
  const [, traceId, spanId] = TRACE_PARENT.exec(headers(TRACE_PARENT_KEY) ?? '') ?? []
  if (traceId === undefined || spanId === undefined || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId }
}

/** The id that the caller gave its request, else that of its trace, else a new one. */
export function requestIdOf(headers: Headers): string {
  const given = headers(REQUEST_ID_KEY)
  if (given !== undefined && REQUEST_ID.test(given)) return given
  return traceParentOf(headers)?.traceId ?? randomUUID()
}
