import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import type { Millis } from '../core/clock.ts'
import { ensureRunId, type RoundKey } from '../core/ids.ts'
import type { Job } from '../gen/prisma/client.ts'
import { parseStored, toText } from './column.ts'
import type { Database } from './database.ts'
import { JOB_KINDS, JOB_STATES, type JobKind, type JobRow, type LeasedJob } from './job-row.ts'
import type { Reader } from './reader.ts'
import type { Notice, Tx } from './store.ts'

type Reads = Pick<Reader, 'job' | 'jobs' | 'jobsToGiveUp'>
type Writes = Pick<
  Tx,
  'askForRevocation' | 'leaseJob' | 'renewLease' | 'finishJob' | 'failJob' | 'retryJob' | 'giveUpJob'
>

const Kind = z.enum(JOB_KINDS)
const State = z.enum(JOB_STATES)
const Leased = z.array(z.object({ id: z.string() }))

/** `<kind>/<run>/<round>`: a round has at most one job of a kind. */
export function jobId(kind: JobKind, key: RoundKey): string {
  return `${kind}/${key.run}/${key.number}`
}

/** Leased work: questions. */
export function jobReads(database: Database): Reads {
  return {
    job: async (id) => {
      const row = await database.job.findUnique({ where: { id } })
      return row === null ? undefined : jobRow(row)
    },
    jobsToGiveUp: async (now, limit) => {
      const rows = await database.job.findMany({ where: heldUntil(now), orderBy: { id: 'asc' }, take: limit })
      return rows.map(jobRow)
    },
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
    leaseJob: async (kinds, now, leaseMs, holder) => {
      const token = randomUUID()
      const leaseUntil = now + leaseMs
      const id = await takeOldest(database, kinds, {
        token,
        holder: holder === undefined ? null : toText(holder),
        now: new Date(now),
        until: new Date(leaseUntil),
      })
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
    failJob: async (job, error, { mostAttempts, holdMs }, now) => {
      const state = job.attempts >= mostAttempts ? 'abandoned' : 'ready'
      const lastError = toText(error)
      const failed = await database.job.updateMany({
        where: heldBy(job, now),
        data: {
          ...endOfLease(now),
          ...(state === 'abandoned' && { leaseUntil: new Date(now + holdMs) }),
          state,
          lastError,
        },
      })
      if (failed.count === 0) return false
      if (state === 'ready') notify({ kind: 'job', id: job.id })
      return state
    },
    retryJob: async (id, now) => {
      const where = { id, state: 'abandoned', leaseUntil: { not: null } }
      const data = { ...endOfLease(now), state: 'ready', attempts: 0 }
      if ((await database.job.updateMany({ where, data })).count === 0) return false
      notify({ kind: 'job', id })
      return true
    },
    giveUpJob: async (id, now) => {
      const { count } = await database.job.updateMany({ where: { id, ...heldUntil(now) }, data: endOfLease(now) })
      return count === 1
    },
  }
}

/** SKIP LOCKED: a worker does not wait for a row that another is taking at this moment, it takes the next. */
async function takeOldest(
  database: Database,
  kinds: readonly JobKind[],
  {
    token,
    holder,
    now,
    until,
  }: { readonly token: string; readonly holder: string | null; readonly now: Date; readonly until: Date },
): Promise<string | undefined> {
  const taken: unknown = await database.$queryRaw`
    UPDATE job SET state = 'leased', lease_token = ${token}, lease_until = ${until}, lease_holder = ${holder},
      attempts = attempts + 1, updated_at = ${now}
    WHERE id = (
      SELECT id FROM job
      WHERE kind = ANY(${[...kinds]}) AND (state = 'ready' OR (state = 'leased' AND lease_until <= ${now}))
      ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id`
  return Leased.parse(taken)[0]?.id
}

/** An abandoned job whose round has waited until `now` for an operator. */
function heldUntil(now: Millis) {
  return { state: 'abandoned', leaseUntil: { lte: new Date(now) } }
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
    leaseHolder: row.leaseHolder,
    leaseUntil: row.leaseUntil?.getTime() ?? null,
    createdAt: row.createdAt.getTime(),
    updatedAt: row.updatedAt.getTime(),
  }
}
