import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { LeasedJob } from '../store/job-row.ts'

/** A lease that is kept while its holder works. */
export type HeldLease = {
  /** Aborts when the lease is lost or `stop` aborts. */
  readonly signal: AbortSignal
  /** Ends the renewals; the lease itself ends with the job or by time. */
  release(): void
}

/** Renewed this often within its length, so that one lost renewal does not lose the lease. */
const RENEWALS = 3

/**
 * Renews a job's lease until released. A database that does not answer is not a lost lease: the
 * transaction that ends the job is what finds out, and it needs the same database.
 */
export function holdLease(context: Context, job: LeasedJob, leaseMs: number, stop: AbortSignal): HeldLease {
  const lost = new AbortController()
  const timer = setInterval(() => {
    void renew(context, job, leaseMs).then((held) => {
      if (!held) lost.abort(new TapestryError('FAILED_PRECONDITION', `the lease of job ${job.id} was lost`))
    })
  }, leaseMs / RENEWALS)
  return { signal: AbortSignal.any([stop, lost.signal]), release: () => clearInterval(timer) }
}

async function renew(context: Context, job: LeasedJob, leaseMs: number): Promise<boolean> {
  try {
    return await context.store.transact('renew-lease', (tx) => tx.renewLease(job, context.clock.now(), leaseMs))
  } catch (error) {
    context.log.warn({ job: job.id, err: error }, 'the lease could not be renewed yet')
    return true
  }
}
