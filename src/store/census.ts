import { z } from 'zod'
import type { Millis } from '../core/clock.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { Census } from './records.ts'

/** The next sweep, a second later, moves a round past its deadline: longer than this, and nobody sweeps. */
const OVERDUE_MS = 60_000

const Counts = z.array(z.object({ what: z.string(), name: z.string(), detail: z.string(), count: z.number() }))
const Names = z.array(z.object({ name: z.string() }))
type Count = z.infer<typeof Counts>[number]

/** What whoever watches the coordinator wants to know; the counts in one statement. */
export function censusReads(database: Database): Pick<Reader, 'census' | 'migrations'> {
  return {
    migrations: async () => {
      const found: unknown = await database.$queryRaw`
        SELECT migration_name AS name FROM _prisma_migrations
        WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY 1`
      return Names.parse(found).map(({ name }) => name)
    },
    census: async (now) => {
      const found: unknown = await database.$queryRaw`
        SELECT 'round' AS what, phase AS name, '' AS detail, count(*)::float8 AS count FROM round GROUP BY phase
        UNION ALL SELECT 'node', status, '', count(*)::float8 FROM node GROUP BY status
        UNION ALL SELECT 'job', kind, state, count(*)::float8 FROM job GROUP BY kind, state
        UNION ALL SELECT 'accepted', '', '', count(*)::float8 FROM contribution
        UNION ALL SELECT 'refused', reason, '', count(*)::float8 FROM rejection WHERE kind <> 'evaluation' GROUP BY reason
        UNION ALL SELECT 'checkpoint', '', '', count(*)::float8 FROM checkpoint
        UNION ALL SELECT 'log', '', '', size::float8 FROM ledger_head WHERE id = 1
        UNION ALL SELECT 'pending', '', '', count(*)::float8 FROM ledger_pending
        UNION ALL SELECT 'overdue', '', '', count(*)::float8 FROM round WHERE deadline < ${new Date(now - OVERDUE_MS)}
        UNION ALL SELECT 'waiting', '', '', extract(epoch FROM ${new Date(now)}::timestamptz - min(created_at))::float8
          FROM job WHERE state IN ('ready', 'leased') HAVING count(*) > 0`
      return censusOf(Counts.parse(found), now)
    },
  }
}

function censusOf(counts: readonly Count[], at: Millis): Census {
  const about = (what: string) => counts.filter((count) => count.what === what)
  const byName = (what: string) => new Map(about(what).map(({ name, count }) => [name, count]))
  const one = (what: string) => about(what)[0]?.count ?? 0
  return {
    at,
    rounds: byName('round'),
    overdueRounds: one('overdue'),
    nodes: byName('node'),
    jobs: about('job').map(({ name: kind, detail: state, count }) => ({ kind, state, count })),
    oldestJobSeconds: Math.max(0, one('waiting')),
    accepted: one('accepted'),
    refused: byName('refused'),
    checkpoints: one('checkpoint'),
    logEntries: one('log'),
    pendingEntries: one('pending'),
  }
}
