import { type Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { type ErrorCode, isErrorCode, TapestryError } from '../core/error.ts'
import { CODE_KEY, decodeHint, HINT_KEY, REQUEST_ID_KEY, RETRY_KEY } from '../core/grpc-service.ts'

/**
 * What a status means when the answer carries no code of ours, so that it is the transport's or a proxy's.
 * INTERNAL and UNKNOWN are then a cut stream or a gateway's error page: worth trying again.
 */
const CODE_OF_STATUS: ReadonlyMap<number, ErrorCode> = new Map([
  [status.CANCELLED, 'UNAVAILABLE'],
  [status.UNKNOWN, 'UNAVAILABLE'],
  [status.INVALID_ARGUMENT, 'INVALID_ARGUMENT'],
  [status.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED'],
  [status.NOT_FOUND, 'NOT_FOUND'],
  [status.ALREADY_EXISTS, 'ALREADY_EXISTS'],
  [status.PERMISSION_DENIED, 'PERMISSION_DENIED'],
  [status.RESOURCE_EXHAUSTED, 'RESOURCE_EXHAUSTED'],
  [status.FAILED_PRECONDITION, 'FAILED_PRECONDITION'],
  [status.ABORTED, 'UNAVAILABLE'],
  [status.OUT_OF_RANGE, 'INVALID_ARGUMENT'],
  [status.UNIMPLEMENTED, 'FAILED_PRECONDITION'],
  [status.INTERNAL, 'UNAVAILABLE'],
  [status.UNAVAILABLE, 'UNAVAILABLE'],
  [status.DATA_LOSS, 'UNAVAILABLE'],
  [status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
])

/** Codes that speak of the machine they were made on: of the other one's state they say only this. */
const CODE_FROM_AFAR: ReadonlyMap<ErrorCode, ErrorCode> = new Map([
  ['DISK_FULL', 'RESOURCE_EXHAUSTED'],
  ['DATA_INVALID', 'INVALID_ARGUMENT'],
  ['DATA_VERSION', 'FAILED_PRECONDITION'],
  ['ENGINE_FAILED', 'INTERNAL'],
  ['PORT_IN_USE', 'UNAVAILABLE'],
])

/** What a code from the other side means on this one; undefined when it is none of ours. */
export function codeFromAfar(text: string): ErrorCode | undefined {
  return isErrorCode(text) ? (CODE_FROM_AFAR.get(text) ?? text) : undefined
}

const MOST_TEXT = 1024

/** Text from the other side, safe to print: no control characters that a terminal would obey. */
export function printable(text: string): string {
  return text.slice(0, MOST_TEXT).replace(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]+/gu, ' ')
}

/** Turns a failed call into our error: by the code in its trailing metadata, else by its status. */
export function rpcError(method: string, error: ServiceError): TapestryError {
  const named = text(error.metadata, CODE_KEY)
  const code = (named && codeFromAfar(named)) || (CODE_OF_STATUS.get(error.code) ?? 'INTERNAL')
  const hint = text(error.metadata, HINT_KEY)
  // An answer without a code of ours is a proxy's: it names nothing in our log.
  const requestId = named && text(error.metadata, REQUEST_ID_KEY)
  const message = printable(error.details === '' ? `${method} failed` : error.details)
  const retryMs = delayOf(Number(text(error.metadata, RETRY_KEY)))
  const told = {
    ...(hint && { hint: printable(decodeHint(hint)) }),
    ...(retryMs !== undefined && { retryMs }),
    ...(requestId && { requestId: printable(requestId) }),
  }
  return new TapestryError(code, message, { cause: error, ...told })
}

/** Nobody is kept waiting for longer by one answer. */
const LONGEST_DELAY_MS = 300_000

/** A delay that the other side asks for, bounded; undefined when it asks for none that makes sense. */
export function delayOf(ms: number): number | undefined {
  return ms > 0 ? Math.min(ms, LONGEST_DELAY_MS) : undefined
}

function text(metadata: Metadata | undefined, key: string): string | undefined {
  return metadata?.get(key)[0]?.toString()
}
