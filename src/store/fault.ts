import { TapestryError } from '../core/error.ts'

/**
 * What a failed transaction means for its caller: run it again (`conflict`, `duplicate`), it could
 * not be begun or its fate is unknown (`unreachable`), or it can never succeed (`final`).
 */
export type Fault = {
  readonly kind: 'conflict' | 'duplicate' | 'unreachable' | 'final'
  readonly error: TapestryError
}

/** Thrown by a compare-and-set that found another version: the transaction runs again from the start. */
export class VersionConflict extends Error {
  override readonly name = 'VersionConflict'
}

/** Codes by which PostgreSQL, Prisma and sockets name the failures that are told apart here. */
const CONFLICTS: ReadonlySet<string> = new Set(['40001', '40P01', 'P2034', 'TransactionWriteConflict'])
const DUPLICATES: ReadonlySet<string> = new Set(['23505', 'P2002', 'UniqueConstraintViolation'])
const MISSING: ReadonlySet<string> = new Set(['23503', 'P2003', 'P2025', 'ForeignKeyConstraintViolation'])
const FULL: ReadonlySet<string> = new Set(['53100', 'ENOSPC'])
/** Text or numbers that PostgreSQL cannot hold, such as U+0000. */
const UNSTORABLE: ReadonlySet<string> = new Set(['22021', '22P05', '22P02', '22003', '22001', 'P2020', 'P2000'])
const UNREACHABLE: ReadonlySet<string> = new Set([
  ...['08000', '08001', '08003', '08004', '08006', '57P01', '57P02', '57P03', '57P05', '53300', '28P01', '3D000'],
  ...['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EHOSTUNREACH'],
  ...['P1000', 'P1001', 'P1002', 'P1003', 'P1008', 'P1017', 'P2024', 'P2028', 'P2037'],
  ...['DatabaseNotReachable', 'ConnectionClosed', 'SocketTimeout', 'TooManyConnections'],
])
/** The driver reports some lost connections by words alone. */
const LOST = /Connection terminated|connection error and is not queryable|timeout exceeded when trying to connect/

/** Classifies whatever a transaction or query threw. */
export function faultOf(thrown: unknown): Fault {
  if (thrown instanceof TapestryError) return { kind: 'final', error: thrown }
  const cause = { cause: thrown }
  const codes = codesOf(thrown)
  const any = (known: ReadonlySet<string>) => codes.some((code) => known.has(code))
  if (thrown instanceof VersionConflict || any(CONFLICTS)) {
    return { kind: 'conflict', error: new TapestryError('UNAVAILABLE', 'too many changes at the same time', cause) }
  }
  if (any(DUPLICATES))
    return { kind: 'duplicate', error: new TapestryError('ALREADY_EXISTS', 'it already exists', cause) }
  if (any(MISSING)) return final('NOT_FOUND', 'something it refers to does not exist', thrown)
  if (any(FULL)) return final('DISK_FULL', 'no space left for the database', thrown)
  if (any(UNSTORABLE)) return final('INVALID_ARGUMENT', 'a value cannot be stored', thrown)
  if (any(UNREACHABLE) || isLost(thrown)) {
    return { kind: 'unreachable', error: new TapestryError('UNAVAILABLE', 'the database cannot be reached', cause) }
  }
  return final('INTERNAL', 'internal error', thrown)
}

function final(
  code: 'NOT_FOUND' | 'DISK_FULL' | 'INVALID_ARGUMENT' | 'INTERNAL',
  message: string,
  cause: unknown,
): Fault {
  return { kind: 'final', error: new TapestryError(code, message, { cause }) }
}

/** Deepest nesting seen is four: Prisma error, meta, adapter error, its cause. */
const DEEPEST = 6

/** The codes of an error and of everything it wraps. */
function codesOf(thrown: unknown, depth = 0): readonly string[] {
  if (typeof thrown !== 'object' || thrown === null || depth > DEEPEST) return []
  const members = new Map<string, unknown>(Object.entries(thrown))
  const own = ['code', 'originalCode', 'kind'].map((name) => members.get(name))
  const wrapped = [members.get('meta'), members.get('driverAdapterError'), 'cause' in thrown ? thrown.cause : undefined]
  return [...own.filter((code) => typeof code === 'string'), ...wrapped.flatMap((inner) => codesOf(inner, depth + 1))]
}

function isLost(thrown: unknown): boolean {
  for (let error = thrown, depth = 0; error instanceof Error && depth <= DEEPEST; error = error.cause, depth++) {
    if (LOST.test(error.message)) return true
  }
  return false
}
