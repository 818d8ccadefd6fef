import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import type { Millis } from '../core/clock.ts'
import { ensureRunId, type RoundKey } from '../core/ids.ts'
import type { Job } from '../gen/prisma/client.ts'
import { parseStored, toText } from './column.ts'
import type { Database } from './database.ts'
import { JOB_KINDS, type JobKind, type JobRow, type LeasedJob } from './records.ts'
import type { Notice, Reader, Tx } from './store.ts'

type Reads = Pick<Reader, 'jobs'>
type Writes = Pick<Tx, 'askForRevocation' | 'leaseJob' | 'renewLease' | 'finishJob' | 'failJob'>

const Kind = z.enum(JOB_KINDS)
const State = z.enum(['ready', 'leased', 'done', 'abandoned'])
const Leased = z.array(z.object({ id: z.string() }))

/** `<kind>/<run>/<round>`: a round has at most one job of a kind. */
export function jobId(kind: JobKind, key: RoundKey): string {
  return `${kind}/${key.run}/${key.number}`
}

/** Leased work: questions. */
export function jobReads(database: Database): Reads {
  return {
    jobs: async ({ states, limit }) => {
      const where = states === undefined ? {} : { state: { in: [...states] } }
      const newest = [{ createdAt: 'desc' as const }, { id: 'asc' as const }]
      const rows = await database.job.findMany({ where, orderBy: newest, take: limit })
      return rows.map(jobRow)
    },
  }
}

/**
 * Leased work: changes. A worker that dies keeps its job until the lease ends; then whoever leases
 * it next sees one attempt more, and abandons it when that is one too many.
 */
export function jobWrites(database: Database, notify: (notice: Notice) => void): Writes {
  return {
    askForRevocation: async (key, now) => {
      const id = jobId('revoke', key)
      const at = new Date(now)
      const ready = { ...endOfLease(now), state: 'ready', attempts: 0 }
      const create = { id, kind: 'revoke', runId: key.run, round: key.number, createdAt: at, ...ready }
      await database.job.upsert({ where: { id }, create, update: ready })
      notify({ kind: 'job', id })
    },
    leaseJob: async (kinds, now, leaseMs) => {
      const token = randomUUID()
      const leaseUntil = now + leaseMs
      const id = await takeOldest(database, kinds, token, new Date(now), new Date(leaseUntil))
      if (id === undefined) return undefined
      const row = await database.job.findUniqueOrThrow({ where: { id } })
      return { ...jobRow(row), token, leaseUntil }
    },
    renewLease: async (job, now, leaseMs) => {
      const data = { leaseUntil: new Date(now + leaseMs), updatedAt: new Date(now) }
      return (await database.job.updateMany({ where: heldBy(job, now), data })).count === 1
    },
    finishJob: async (job, now) => {
      const data = { ...endOfLease(now), state: 'done', lastError: null }
      return (await database.job.updateMany({ where: heldBy(job, now), data })).count === 1
    },
    failJob: async (job, error, mostAttempts, now) => {
      const state = job.attempts >= mostAttempts ? 'abandoned' : 'ready'
      const lastError = toText(error)
      const failed = await database.job.updateMany({
        where: heldBy(job, now),
        data: { ...endOfLease(now), state, lastError },
      })
      if (failed.count === 0) return false
      if (state === 'ready') notify({ kind: 'job', id: job.id })
      return state
    },
  }
}

/** SKIP LOCKED: a worker does not wait for a row that another is taking at this moment, it takes the next. */
async function takeOldest(
  database: Database,
  kinds: readonly JobKind[],
  token: string,
  now: Date,
  until: Date,
): Promise<string | undefined> {
  const taken: unknown = await database.$queryRaw`
    UPDATE job SET state = 'leased', lease_token = ${token}, lease_until = ${until}, attempts = attempts + 1, updated_at = ${now}
    WHERE id = (
      SELECT id FROM job
      WHERE kind = ANY(${[...kinds]}) AND (state = 'ready' OR (state = 'leased' AND lease_until <= ${now}))
      ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id`
  return Leased.parse(taken)[0]?.id
}

/** Holds only for the present lease, and only until it ends: a late worker changes nothing. */
function heldBy(job: LeasedJob, now: Millis) {
  return { id: job.id, state: 'leased', leaseToken: job.token, leaseUntil: { gt: new Date(now) } }
}

function endOfLease(now: Millis) {
  return { leaseToken: null, leaseUntil: null, updatedAt: new Date(now) }
}

function jobRow(row: Job): JobRow {
  return {
    id: row.id,
    kind: parseStored(Kind, row.kind, 'kind of job'),
    key: { run: ensureRunId(row.runId), number: row.round },
    state: parseStored(State, row.state, 'state of a job'),
    attempts: row.attempts,
    lastError: row.lastError,
  }
}
