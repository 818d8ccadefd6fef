import type { Context, ReleaseSigner } from '../context.ts'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { LeasedJob } from '../store/job-row.ts'
import type { Reader } from '../store/reader.ts'
import type { RoundRow, RunRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'

/**
 * A leased job in the hands of a worker. The signal aborts when the lease is lost or the worker
 * stops: whatever was done until then is done again by the next holder.
 */
export type Task = {
  readonly context: Context
  readonly signer: ReleaseSigner
  readonly job: LeasedJob
  readonly signal: AbortSignal
}

/**
 * Ends the job inside the transaction that stores its result, which must come to nothing when
 * somebody else holds the job by now.
 * @throws TapestryError FAILED_PRECONDITION when the lease was lost: the transaction rolls back.
 */
export async function finish(tx: Tx, job: LeasedJob, now: Millis): Promise<void> {
  if (await tx.finishJob(job, now)) return
  throw new TapestryError('FAILED_PRECONDITION', `the lease of job ${job.id} was lost`)
}

/** The round of a job and its run. @throws TapestryError NOT_FOUND */
export async function subjectOf(reader: Reader, job: LeasedJob): Promise<{ round: RoundRow; run: RunRow }> {
  const [round, run] = await Promise.all([reader.round(job.key), reader.run(job.key.run)])
  if (round !== undefined && run !== undefined) return { round, run }
  throw new TapestryError('NOT_FOUND', `job ${job.id} is about a round that does not exist`)
}
