import type { Millis } from '../core/clock.ts'
import type { RoundKey } from '../core/ids.ts'

export const JOB_KINDS = ['aggregate', 'decide', 'override', 'revoke'] as const
export type JobKind = (typeof JOB_KINDS)[number]

export const JOB_STATES = ['ready', 'leased', 'done', 'abandoned'] as const
export type JobState = (typeof JOB_STATES)[number]

export type JobRow = {
  /** `<kind>/<run>/<round>`. */
  readonly id: string
  readonly kind: JobKind
  /** A round; for `revoke` a revocation. */
  readonly key: RoundKey
  readonly state: JobState
  readonly attempts: number
  readonly lastError: string | null
  /** `<host>/<process id>` that took the last lease; null before the first. */
  readonly leaseHolder: string | null
  /** When the lease ends; of an abandoned job, until when its round waits for an operator; null when neither. */
  readonly leaseUntil: Millis | null
  readonly createdAt: Millis
  readonly updatedAt: Millis
}

/** A job in somebody's hands: only the holder of the token may finish it, and only before the lease ends. */
export type LeasedJob = JobRow & { readonly token: string; readonly leaseUntil: Millis }
