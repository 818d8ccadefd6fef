/**
 * Why a contribution (or evaluation) was refused. A rejection is data: it is stored, counted
 * and shown to the node, and the round goes on without it.
 */
export const REJECTION_REASONS = [
  'NOT_IN_ROSTER',
  'WRONG_ROUND',
  'ROUND_CLOSED',
  'UNKNOWN_BASE',
  'STALE_BASE',
  'DUPLICATE',
  'REPLAYED',
  'EJECTED',
  'BAD_SIGNATURE',
  'DIGEST_MISMATCH',
  'TRUNCATED',
  'TOO_LARGE',
  'MALFORMED',
  'MISSING_TENSOR',
  'EXTRA_TENSOR',
  'SHAPE_MISMATCH',
  'DTYPE_MISMATCH',
  'CODEC_MISMATCH',
  'NON_FINITE',
  'NORM_TOO_LARGE',
  'INVALID_REPORT',
  'NO_RECORD',
  'CONSENT_PENDING',
  'CONSENT_EXPIRED',
  'CONSENT_WITHDRAWN',
  'USE_NOT_ALLOWED',
  'RESIDENCY',
  'LICENCE_UNKNOWN',
  'LICENCE_NOT_CARRIED',
  'LICENCE_CLASH',
] as const

export type RejectionReason = (typeof REJECTION_REASONS)[number]

/** One refusal: the coded reason, and one sentence for the person who has to mend it. */
export type Rejection = { readonly reason: RejectionReason; readonly detail: string }

/** A value, or the reason why there is none. */
export type Verdict<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly rejection: Rejection }

export function accept<T>(value: T): Verdict<T> {
  return { ok: true, value }
}

export function reject(reason: RejectionReason, detail: string): { readonly ok: false; readonly rejection: Rejection } {
  return { ok: false, rejection: { reason, detail } }
}
