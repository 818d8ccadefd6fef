import { z } from 'zod'
import type { Millis } from '../core/clock.ts'
import { ensureDigest } from '../core/digest.ts'
import { ensureChannelName, ensureNodeId, ensureRunId, type RoundKey } from '../core/ids.ts'
import type { RosterEntry, Round as RoundModel, Run } from '../gen/prisma/client.ts'
import { parseRound, parseRunPolicy } from '../round/codec.ts'
import type { Round } from '../round/round.ts'
import { deadlineOf } from '../round/round.ts'
import type { Work } from '../round/step.ts'
import { newestFirst, parseStored } from './column.ts'
import type { Database } from './database.ts'
import { VersionConflict } from './fault.ts'
import { jobId } from './jobs.ts'
import type { Reader } from './reader.ts'
import type { RosterRow, RoundRow, RunRow } from './records.ts'
import type { Notice, Tx } from './store.ts'

type Reads = Pick<
  Reader,
  | 'run'
  | 'runs'
  | 'runByPlan'
  | 'round'
  | 'rounds'
  | 'roundsPastDeadline'
  | 'roster'
  | 'rosterEntry'
  | 'roundsWith'
  | 'isCandidate'
>
type Writes = Pick<
  Tx,
  | 'createRun'
  | 'advanceRun'
  | 'setRunHead'
  | 'returnRun'
  | 'createRound'
  | 'saveRound'
  | 'addToRoster'
  | 'setStanding'
  | 'setEvaluated'
  | 'setDeclined'
  | 'removeFromRoster'
>

const StandingForm = z.enum(['joined', 'accepted', 'refused'])

/** Runs, their rounds and who takes part: questions. */
export function roundReads(database: Database): Reads {
  return {
    run: async (id) => {
      const row = await database.run.findUnique({ where: { id } })
      return row === null ? undefined : runRow(row)
    },
    runs: async () => {
      const rows = await database.run.findMany({ orderBy: { id: 'asc' } })
      return rows.map(runRow)
    },
    runByPlan: async (plan) => {
      const row = await database.run.findFirst({ where: { planDigest: plan }, orderBy: { id: 'asc' } })
      return row === null ? undefined : runRow(row)
    },
    round: async (key) => {
      const row = await database.round.findUnique({ where: { runId_number: { runId: key.run, number: key.number } } })
      return row === null ? undefined : roundRow(row)
    },
    isCandidate: async (file) => {
      const named = [
        { state: { path: ['candidate'], equals: file } },
        { state: { path: ['shards'], array_contains: [file] } },
      ]
      return (await database.round.findFirst({ where: { phase: 'evaluating', OR: named } })) !== null
    },
    rounds: async ({ run, phases, limit }) => {
      const where = {
        ...(run === undefined ? {} : { runId: run }),
        ...(phases === undefined ? {} : { phase: { in: [...phases] } }),
      }
      const rows = await database.round.findMany({ where, orderBy: newestFirst(run, { number: 'desc' }), take: limit })
      return rows.map(roundRow)
    },
    roundsPastDeadline: async (now, limit) => {
      const where = { deadline: { lte: new Date(now) } }
      const rows = await database.round.findMany({ where, orderBy: { deadline: 'asc' }, take: limit })
      return rows.map(roundRow)
    },
    roster: async (key) => {
      const rows = await database.rosterEntry.findMany({ where: roundOf(key), orderBy: { nodeId: 'asc' } })
      return rows.map(rosterRow)
    },
    rosterEntry: async (key, node) => {
      const row = await database.rosterEntry.findUnique({ where: entryOf(key, node) })
      return row === null ? undefined : rosterRow(row)
    },
    roundsWith: async (node, phases) => {
      const where = { nodeId: node, roundRow: { phase: { in: [...phases] } } }
      const rows = await database.rosterEntry.findMany({ where, orderBy: [{ runId: 'asc' }, { round: 'asc' }] })
      return rows.map(({ runId, round }) => ({ run: ensureRunId(runId), number: round }))
    },
  }
}

/** Runs, their rounds and who takes part: changes. `notify` is told what watchers will hear after the commit. */
export function roundWrites(database: Database, notify: (notice: Notice) => void): Writes {
  return {
    createRun: async (row) => {
      const { id, plan, planDigest, channel, head, roundsStarted, uncounted, policy } = row
      const data = { id, plan, planDigest, channel, headDigest: head, roundsStarted, uncounted, policy }
      await database.run.createMany({ data: [{ ...data, createdAt: new Date(row.createdAt) }] })
    },
    advanceRun: async (id, expected) => {
      const where = { id, roundsStarted: expected }
      const moved = await database.run.updateMany({ where, data: { roundsStarted: expected + 1 } })
      return moved.count === 1
    },
    setRunHead: async (id, head) => {
      await database.run.update({ where: { id }, data: { headDigest: head } })
    },
    returnRun: async (id, { head, roundsStarted, uncounted }) => {
      await database.run.update({ where: { id }, data: { headDigest: head, roundsStarted, uncounted } })
    },
    createRound: async (key, round, now, work = []) => {
      const at = new Date(now)
      const data = { runId: key.run, number: key.number, version: 1, createdAt: at, ...stateColumns(round, now) }
      await database.round.createMany({ data: [data] })
      notify({ kind: 'round', key })
      await createJobs(database, key, work, now, notify)
    },
    saveRound: async (row, next, work, now) => {
      const { key, version } = row
      const where = { runId: key.run, number: key.number, version }
      const data = { version: version + 1, ...stateColumns(next, now) }
      const saved = await database.round.updateMany({ where, data })
      if (saved.count === 0)
        throw new VersionConflict(`round ${key.run}/${key.number} is no longer at version ${version}`)
      notify({ kind: 'round', key })
      await createJobs(database, key, work, now, notify)
    },
    addToRoster: async (key, nodes, now) => {
      const same = { ...roundOf(key), standing: 'joined', joinedAt: new Date(now) }
      await database.rosterEntry.createMany({ data: nodes.map((nodeId) => ({ ...same, nodeId })) })
    },
    setStanding: async (key, nodes, standing) => {
      const where = { ...roundOf(key), nodeId: { in: [...nodes] } }
      await database.rosterEntry.updateMany({ where, data: { standing } })
    },
    setEvaluated: async (key, node) => {
      await database.rosterEntry.update({ where: entryOf(key, node), data: { evaluated: true } })
    },
    setDeclined: async (key, node) => {
      await database.rosterEntry.update({ where: entryOf(key, node), data: { declined: true } })
    },
    removeFromRoster: async (key, node) => {
      await database.rosterEntry.delete({ where: entryOf(key, node) })
    },
  }
}

/** A round asks for each kind of work at most once; asking again changes nothing. */
async function createJobs(
  database: Database,
  key: RoundKey,
  work: readonly Work[],
  now: Millis,
  notify: (notice: Notice) => void,
): Promise<void> {
  if (work.length === 0) return
  const at = new Date(now)
  const rows = work.map((kind) => ({
    id: jobId(kind, key),
    kind,
    ...roundOf(key),
    state: 'ready',
    createdAt: at,
    updatedAt: at,
  }))
  await database.job.createMany({ data: rows, skipDuplicates: true })
  for (const { id } of rows) notify({ kind: 'job', id })
}

function stateColumns(round: Round, now: Millis) {
  const timeout = timeoutOf(round)
  const deadline = timeout === undefined ? null : new Date(timeout)
  return { phase: round.phase, state: round, deadline, updatedAt: new Date(now) }
}

/** The two columns by which other tables refer to a round. */
export function roundOf(key: RoundKey): { runId: string; round: number } {
  return { runId: key.run, round: key.number }
}

function entryOf(key: RoundKey, node: string) {
  return { runId_round_nodeId: { ...roundOf(key), nodeId: node } }
}

function runRow(row: Run): RunRow {
  return {
    id: ensureRunId(row.id),
    plan: row.plan,
    planDigest: ensureDigest(row.planDigest),
    policy: parseRunPolicy(row.policy),
    channel: ensureChannelName(row.channel),
    head: ensureDigest(row.headDigest),
    roundsStarted: row.roundsStarted,
    uncounted: row.uncounted,
    createdAt: row.createdAt.getTime(),
  }
}

function roundRow(row: RoundModel): RoundRow {
  return {
    key: { run: ensureRunId(row.runId), number: row.number },
    round: parseRound(row.state),
    version: row.version,
    createdAt: row.createdAt.getTime(),
    updatedAt: row.updatedAt.getTime(),
    ...(row.revocation !== null && { revocation: row.revocation }),
  }
}

function rosterRow(row: RosterEntry): RosterRow {
  return {
    node: ensureNodeId(row.nodeId),
    standing: parseStored(StandingForm, row.standing, 'standing'),
    evaluated: row.evaluated,
    declined: row.declined,
  }
}

/** When time alone moves the round on: a round whose decision has been asked for waits for work, not for its deadline. */
function timeoutOf(round: Round): Millis | undefined {
  return round.phase === 'evaluating' && round.deciding ? undefined : deadlineOf(round)
}
