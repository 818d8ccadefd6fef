/**
 * The closed list of failures. A failure is an error; a refused contribution is data
 * (see rejection.ts). Transports map these codes by table, so a new code does not compile
 * until every transport knows it.
 */
export const ERROR_CODES = [
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'FAILED_PRECONDITION',
  'RESOURCE_EXHAUSTED',
  'TOO_LARGE',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'VERIFICATION_FAILED',
  'LEDGER_INCONSISTENT',
  'INVITATION_INVALID',
  'INVITATION_USED',
  'INVITATION_EXPIRED',
  'WRONG_FEDERATION',
  'PORT_IN_USE',
  'DISK_FULL',
  'DATA_VERSION',
  'DATA_INVALID',
  'ENGINE_FAILED',
  'INTERNAL',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

const KNOWN: ReadonlySet<string> = new Set(ERROR_CODES)

/** True when `code` is one of {@link ERROR_CODES}: used where a code arrives as text. */
export function isErrorCode(code: string): code is ErrorCode {
  return KNOWN.has(code)
}

type ErrorOptions = { cause?: unknown; hint?: string; retryMs?: number; requestId?: string }

/** The one error type that crosses room borders. `message` is safe to show to the caller. */
export class TapestryError extends Error {
  override readonly name = 'TapestryError'
  readonly code: ErrorCode
  /** What the reader can do about it, in one sentence. */
  readonly hint: string | undefined
  /** After how many milliseconds it is worth trying again; undefined when nobody can say. */
  readonly retryMs: number | undefined
  /** What the request is called in the coordinator's log, when it was the coordinator that said so. */
  readonly requestId: string | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.retryMs = options.retryMs
    this.requestId = options.requestId
  }
}

/** Turns anything thrown into a TapestryError; what is not ours becomes INTERNAL with its cause kept. */
export function toTapestryError(thrown: unknown): TapestryError {
  if (thrown instanceof TapestryError) return thrown
  return new TapestryError('INTERNAL', 'internal error', { cause: thrown })
}
