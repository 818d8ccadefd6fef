import { diagnosticsSchema } from '../aggregation/diagnostics.ts'
import { parseStored } from './column.ts'
import type { Database } from './database.ts'
import { roundOf } from './rounds.ts'
import type { Reader, Tx } from './store.ts'

/** What merges say about their contributions: questions. */
export function diagnosticsReads(database: Database): Pick<Reader, 'diagnostics'> {
  return {
    diagnostics: async (key) => {
      const row = await database.diagnostics.findUnique({ where: { runId_round: roundOf(key) } })
      return row === null ? undefined : parseStored(diagnosticsSchema, row.report, 'report of a merge')
    },
  }
}

/** What merges say about their contributions: changes. */
export function diagnosticsWrites(database: Database): Pick<Tx, 'putDiagnostics'> {
  return {
    putDiagnostics: async (key, report, now) => {
      await database.diagnostics.deleteMany({ where: roundOf(key) })
      await database.diagnostics.createMany({ data: [{ ...roundOf(key), report, at: new Date(now) }] })
    },
  }
}
