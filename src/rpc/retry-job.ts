import type { Context } from '../context.ts'
import { assertNever } from '../core/assert.ts'
import { TapestryError } from '../core/error.ts'
import type { RetryJobRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import type { JobRow } from '../store/job-row.ts'
import type { Tx } from '../store/store.ts'
import { jobMessage } from './list-jobs.ts'

/** Asks again for an abandoned job while its round waits for it. Repeating it changes nothing. */
export async function retryJob({ store, clock }: Context, { job: id }: RetryJobRequest) {
  return { job: jobMessage(await store.transact('retry-job', (tx) => retry(tx, id, clock.now()))) }
}

async function retry(tx: Tx, id: string, now: number): Promise<JobRow> {
  await tx.retryJob(id, now)
  const job = await tx.job(id)
  if (job === undefined) throw new TapestryError('NOT_FOUND', `there is no job ${id.slice(0, 200)}`)
  switch (job.state) {
    case 'ready':
    case 'leased':
      return job
    case 'done':
      throw new TapestryError('FAILED_PRECONDITION', `job ${id} is done`)
    case 'abandoned':
      throw new TapestryError('FAILED_PRECONDITION', `the round of job ${id} has failed without it`, {
        hint: `open another: tapestry round start ${job.key.run}`,
      })
    default:
      return assertNever(job.state)
  }
}
