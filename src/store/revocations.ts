import { z } from 'zod'
import { ensureNodeId, ensureRunId, type RoundKey } from '../core/ids.ts'
import type { Revocation } from '../gen/prisma/client.ts'
import { REVOCATION_MODES, revocationPlanSchema } from '../policy/revocation.ts'
import { revocationStateSchema } from '../round/revocation.ts'
import type { RevocationRow } from './checkpoint-row.ts'
import { newestFirst, parseStored, toText } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { Tx } from './store.ts'

type Reads = Pick<Reader, 'revocation' | 'revocations'>
type Writes = Pick<Tx, 'createRevocation' | 'saveRevocation' | 'takeBack' | 'createRemerge'>

const Mode = z.enum(REVOCATION_MODES)

/** What was taken back, and why: questions. */
export function revocationReads(database: Database): Reads {
  return {
    revocation: async (key) => {
      const row = await database.revocation.findUnique({ where: { runId_number: keyColumns(key) } })
      return row === null ? undefined : revocationRow(row)
    },
    revocations: async ({ run, requestedBy, limit }) => {
      const where = { ...(run && { runId: run }), ...(requestedBy && { requestedBy }) }
      const rows = await database.revocation.findMany({
        where,
        orderBy: newestFirst(run, { number: 'desc' }),
        take: limit,
      })
      return rows.map(revocationRow)
    },
  }
}

/** What was taken back, and why: changes. */
export function revocationWrites(database: Database): Writes {
  return {
    createRevocation: async ({ key, mode, requestedBy, reason, plan, createdAt, ...row }) => {
      const fixed = { mode, requestedBy, reason: toText(reason), plan, createdAt: new Date(createdAt) }
      await database.revocation.createMany({ data: [{ ...keyColumns(key), ...fixed, ...movingColumns(row) }] })
    },
    saveRevocation: async ({ key, ...row }) => {
      await database.revocation.update({ where: { runId_number: keyColumns(key) }, data: movingColumns(row) })
    },
    takeBack: async ({ run, number }, { contributions, rounds, superseded }) => {
      const data = { revocation: number }
      await database.contribution.updateMany({ where: { id: { in: contributions } }, data })
      // A candidate that was refused must not be released by anybody's word any more.
      const refused = { phase: 'rejected', contributions: { some: { id: { in: contributions } } } }
      const touched = [{ number: { in: rounds } }, refused]
      await database.round.updateMany({ where: { runId: run, revocation: null, OR: touched }, data })
      await database.checkpoint.updateMany({ where: { digest: { in: superseded }, revocation: null }, data })
    },
    createRemerge: async ({ run, number }, contributions) => {
      const data = contributions.map((contributionId) => ({ runId: run, revision: number, contributionId }))
      await database.remerge.createMany({ data })
    },
  }
}

function keyColumns({ run, number }: RoundKey) {
  return { runId: run, number }
}

function movingColumns({ state, notice, updatedAt }: Pick<RevocationRow, 'state' | 'notice' | 'updatedAt'>) {
  return {
    state,
    notice: notice?.text ?? null,
    noticeSignature: notice?.signature.value ?? null,
    noticeKeyId: notice?.signature.keyId ?? null,
    updatedAt: new Date(updatedAt),
  }
}

function revocationRow(row: Revocation): RevocationRow {
  const { notice, noticeSignature, noticeKeyId } = row
  const signed = notice !== null && noticeSignature !== null && noticeKeyId !== null
  return {
    key: { run: ensureRunId(row.runId), number: row.number },
    mode: parseStored(Mode, row.mode, 'mode of a revocation'),
    requestedBy: row.requestedBy === 'operator' ? 'operator' : ensureNodeId(row.requestedBy),
    reason: row.reason,
    plan: parseStored(revocationPlanSchema, row.plan, 'plan of a revocation'),
    state: parseStored(revocationStateSchema, row.state, 'state of a revocation'),
    notice: signed ? { text: notice, signature: { keyId: noticeKeyId, value: noticeSignature } } : null,
    createdAt: row.createdAt.getTime(),
    updatedAt: row.updatedAt.getTime(),
  }
}
