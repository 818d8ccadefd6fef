import type { ErrorCode } from '../core/error.ts'

/** What the process says to its caller. Signals exit with 128 plus their number. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  authentication: 4,
  verification: 5,
  unavailable: 6,
} as const

const EXIT_CODE_OF = {
  INVALID_ARGUMENT: EXIT.usage,
  NOT_FOUND: EXIT.notFound,
  ALREADY_EXISTS: EXIT.failure,
  UNAUTHENTICATED: EXIT.authentication,
  PERMISSION_DENIED: EXIT.authentication,
  FAILED_PRECONDITION: EXIT.failure,
  RESOURCE_EXHAUSTED: EXIT.failure,
  TOO_LARGE: EXIT.failure,
  UNAVAILABLE: EXIT.unavailable,
  DEADLINE_EXCEEDED: EXIT.unavailable,
  VERIFICATION_FAILED: EXIT.verification,
  LEDGER_INCONSISTENT: EXIT.verification,
  INVITATION_INVALID: EXIT.authentication,
  INVITATION_USED: EXIT.authentication,
  INVITATION_EXPIRED: EXIT.authentication,
  WRONG_FEDERATION: EXIT.verification,
  PORT_IN_USE: EXIT.failure,
  DISK_FULL: EXIT.failure,
  DATA_VERSION: EXIT.failure,
  DATA_INVALID: EXIT.failure,
  ENGINE_FAILED: EXIT.failure,
  INTERNAL: EXIT.failure,
} as const satisfies Record<ErrorCode, number>

/** The exit code of a failure. */
export function exitCodeOf(code: ErrorCode): number {
  return EXIT_CODE_OF[code]
}

/** 130 for SIGINT, 143 for SIGTERM. */
export function exitCodeOfSignal(signal: 'SIGINT' | 'SIGTERM'): number {
  return signal === 'SIGINT' ? 130 : 143
}
