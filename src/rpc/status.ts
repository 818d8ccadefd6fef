import { Metadata, status } from '@grpc/grpc-js'
import { type ErrorCode, type TapestryError, toTapestryError } from '../core/error.ts'
import { CODE_KEY, encodeHint, HINT_KEY, RETRY_KEY } from '../core/grpc-service.ts'

/** gRPC's status for each of our codes. Our own code travels beside it, in trailing metadata. */
export const GRPC_STATUS = {
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  NOT_FOUND: status.NOT_FOUND,
  ALREADY_EXISTS: status.ALREADY_EXISTS,
  UNAUTHENTICATED: status.UNAUTHENTICATED,
  PERMISSION_DENIED: status.PERMISSION_DENIED,
  FAILED_PRECONDITION: status.FAILED_PRECONDITION,
  RESOURCE_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  TOO_LARGE: status.RESOURCE_EXHAUSTED,
  UNAVAILABLE: status.UNAVAILABLE,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  VERIFICATION_FAILED: status.INVALID_ARGUMENT,
  LEDGER_INCONSISTENT: status.FAILED_PRECONDITION,
  INVITATION_INVALID: status.PERMISSION_DENIED,
  INVITATION_USED: status.FAILED_PRECONDITION,
  INVITATION_EXPIRED: status.FAILED_PRECONDITION,
  WRONG_FEDERATION: status.FAILED_PRECONDITION,
  PORT_IN_USE: status.UNAVAILABLE,
  DISK_FULL: status.RESOURCE_EXHAUSTED,
  DATA_VERSION: status.FAILED_PRECONDITION,
  DATA_INVALID: status.INVALID_ARGUMENT,
  ENGINE_FAILED: status.INTERNAL,
  INTERNAL: status.INTERNAL,
} as const satisfies Record<ErrorCode, status>

export type GrpcFailure = { readonly code: status; readonly details: string; readonly metadata: Metadata }

/** Headers have a size limit at both ends; a message is one sentence. */
const MOST_DETAIL = 1024

/** What a caller is told about a failure: never more of an INTERNAL one than that it happened. */
export function grpcFailure(thrown: unknown): GrpcFailure {
  const error = toTapestryError(thrown)
  const metadata = new Metadata()
  metadata.set(CODE_KEY, error.code)
  if (error.hint !== undefined) metadata.set(HINT_KEY, encodeHint(error.hint.slice(0, MOST_DETAIL)))
  if (error.retryMs !== undefined) metadata.set(RETRY_KEY, String(Math.ceil(error.retryMs)))
  return { code: GRPC_STATUS[error.code], details: detailOf(error), metadata }
}

function detailOf(error: TapestryError): string {
  if (error.code === 'INTERNAL') return 'internal error'
  // grpc-js puts the text through encodeURI, which throws at half a surrogate pair: a message that
  // quotes and cuts a caller's text may hold one, and must not bring the process down.
  return error.message.slice(0, MOST_DETAIL).replace(/\p{Surrogate}/gu, '\ufffd')
}
