import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { ListJobsRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { JOB_STATES, type JobRow, type JobState } from '../store/job-row.ts'

const DEFAULT_LIMIT = 100
const MOST = 1000

/** The coordinator's merges and decisions, newest first. */
export async function listJobs({ store }: Context, { states, limit }: ListJobsRequest) {
  if (limit > MOST) throw new TapestryError('INVALID_ARGUMENT', `at most ${MOST} jobs are told at once`)
  const wanted = states.map(ensureState)
  const rows = await store.reader.jobs({
    ...(wanted.length > 0 && { states: wanted }),
    limit: limit || DEFAULT_LIMIT,
  })
  return { jobs: rows.map(jobMessage) }
}

export function jobMessage(row: JobRow) {
  return {
    id: row.id,
    kind: row.kind,
    ref: { run: row.key.run, number: row.key.number },
    state: row.state,
    attempts: row.attempts,
    lastError: row.lastError ?? '',
    leaseHolder: row.leaseHolder ?? '',
    leaseUntilMs: BigInt(row.leaseUntil ?? 0),
    createdMs: BigInt(row.createdAt),
    updatedMs: BigInt(row.updatedAt),
  }
}

function ensureState(text: string): JobState {
  const state = JOB_STATES.find((one) => one === text)
  if (state !== undefined) return state
  throw new TapestryError('INVALID_ARGUMENT', `no state of a job: "${text.slice(0, 40)}" (${JOB_STATES.join(', ')})`)
}
