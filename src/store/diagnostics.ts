import { diagnosticsSchema } from '../aggregation/diagnostics.ts'
import { gateRecordSchema } from '../policy/release.ts'
import { parseStored } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import { roundOf } from './rounds.ts'
import type { Tx } from './store.ts'

/** What merges say about their contributions, and the gate about their candidates: questions. */
export function diagnosticsReads(database: Database): Pick<Reader, 'diagnostics' | 'gateRecord'> {
  return {
    diagnostics: async (key) => {
      const row = await database.diagnostics.findUnique({ where: { runId_round: roundOf(key) } })
      return row === null ? undefined : parseStored(diagnosticsSchema, row.report, 'report of a merge')
    },
    gateRecord: async (key) => {
      const row = await database.releaseDecision.findUnique({ where: { runId_round: roundOf(key) } })
      return row === null ? undefined : parseStored(gateRecordSchema, row.record, 'decision about a release')
    },
  }
}

/** What merges say about their contributions, and the gate about their candidates: changes. */
export function diagnosticsWrites(database: Database): Pick<Tx, 'putDiagnostics' | 'putGateRecord'> {
  return {
    putDiagnostics: async (key, report, now) => {
      await database.diagnostics.deleteMany({ where: roundOf(key) })
      await database.diagnostics.createMany({ data: [{ ...roundOf(key), report, at: new Date(now) }] })
    },
    putGateRecord: async (key, record, now) => {
      await database.releaseDecision.deleteMany({ where: roundOf(key) })
      await database.releaseDecision.createMany({ data: [{ ...roundOf(key), record, at: new Date(now) }] })
    },
  }
}
