import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { ErrorCode } from '../core/error.ts'
import { toTapestryError } from '../core/error.ts'
import { REQUEST_ID_KEY } from '../core/grpc-service.ts'
import type { Rejection } from '../core/rejection.ts'

/** HTTP's status for each of our codes. */
export const HTTP_STATUS = {
  INVALID_ARGUMENT: 400,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  FAILED_PRECONDITION: 412,
  RESOURCE_EXHAUSTED: 429,
  TOO_LARGE: 413,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
  VERIFICATION_FAILED: 422,
  LEDGER_INCONSISTENT: 409,
  INVITATION_INVALID: 403,
  INVITATION_USED: 409,
  INVITATION_EXPIRED: 410,
  WRONG_FEDERATION: 421,
  PORT_IN_USE: 503,
  DISK_FULL: 507,
  DATA_VERSION: 409,
  DATA_INVALID: 422,
  ENGINE_FAILED: 500,
  INTERNAL: 500,
} as const satisfies Record<ErrorCode, number>

/** What a client is told when a request is refused (RFC 9457). `code` is one of ours: an error's or a rejection's. */
export type Problem = {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Tells of an error; of an INTERNAL one only that it happened. */
export function problemOf(thrown: unknown): Problem {
  const { code, message, retryMs } = toTapestryError(thrown)
  const headers = retryMs === undefined ? {} : { 'Retry-After': String(Math.ceil(retryMs / 1000)) }
  return { status: HTTP_STATUS[code], code, detail: code === 'INTERNAL' ? 'internal error' : message, headers }
}

/** Tells why an upload was refused. */
export function problemOfRejection({ reason, detail }: Rejection): Problem {
  return { status: reason === 'TOO_LARGE' ? 413 : 422, code: reason, detail }
}

const MOST_DETAIL = 1024
/** How long a sender may go on before it has read why its body is not wanted. */
const LINGER_MS = 2000

/**
 * Sends a problem document. To cut a sender in the middle of its body would lose the answer on the way (RFC 9112,
 * 9.6): what it still sends is thrown away for a moment, and then the connection is cut.
 */
export function sendProblem(response: ServerResponse, { status, code, detail, headers }: Problem): void {
  const title = STATUS_CODES[status] ?? 'Error'
  const requestId = response.getHeader(REQUEST_ID_KEY)
  const told = { code, detail: detail.slice(0, MOST_DETAIL), ...(requestId !== undefined && { requestId }) }
  const body = JSON.stringify({ type: 'about:blank', title, status, ...told })
  response.writeHead(status, {
    ...headers,
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    // Node would otherwise close at once for a sender that asked for one request only.
    ...(response.req.complete ? {} : { Connection: 'keep-alive' }),
  })
  response.end(body)
  linger(response.req)
}

function linger(request: IncomingMessage): void {
  if (request.complete) return
  const cut = setTimeout(() => request.destroy(), LINGER_MS)
  request.once('end', () => clearTimeout(cut))
  request.once('close', () => clearTimeout(cut))
  request.resume()
}
