import { z } from 'zod'
import type { NodeId, RunId } from '../core/ids.ts'
import { Prisma } from '../gen/prisma/client.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { SummaryBy, SummaryRow } from './records.ts'

type Reads = Pick<Reader, 'summary' | 'rejectionCounts'>
type Filter = { readonly run?: RunId; readonly node?: NodeId }

/** The counter's name for what was not refused. */
const ACCEPTED = 'ACCEPTED'

/** What a row of the accounts is about, in both tables that have something to say of it. */
const KEYS = {
  language: { accepted: Prisma.sql`l.language`, refused: undefined },
  community: { accepted: Prisma.sql`l.community`, refused: undefined },
  node: { accepted: Prisma.sql`c.node_id`, refused: Prisma.sql`r.node_id` },
  member: { accepted: Prisma.sql`n.member_id`, refused: Prisma.sql`n.member_id` },
  jurisdiction: {
    accepted: Prisma.sql`coalesce(m.jurisdiction, '')`,
    refused: Prisma.sql`coalesce(m.jurisdiction, '')`,
  },
  round: {
    accepted: Prisma.sql`c.run_id || '/' || c.round`,
    refused: Prisma.sql`r.run_id || '/' || r.round`,
  },
} as const satisfies Record<SummaryBy, { accepted: Prisma.Sql; refused: Prisma.Sql | undefined }>

const Rows = z.array(
  z.object({
    key: z.string(),
    accepted: z.number(),
    rejected: z.number(),
    refusals: z.record(z.string(), z.number()),
    weight: z.number(),
    meanWeight: z.number().nullable(),
    tokens: z.number(),
    documents: z.number(),
    lossBefore: z.number().nullable(),
    lossAfter: z.number().nullable(),
  }),
)
const Counts = z.array(z.object({ reason: z.string(), count: z.number() }))

/**
 * The accounts. Losses are pooled means: each report weighs as many held-out tokens as it was
 * measured on. Refusals have no language or community: the accounts by those show none.
 */
export function summaryReads(database: Database): Reads {
  return {
    summary: async (by, filter) => {
      const found: unknown = await database.$queryRaw(summaryQuery(by, filter))
      return Rows.parse(found) satisfies SummaryRow[]
    },
    rejectionCounts: async () => {
      const found: unknown = await database.$queryRaw`
        SELECT reason, count(*)::float8 AS count FROM rejection GROUP BY reason
        UNION ALL SELECT ${ACCEPTED}, count(*)::float8 FROM contribution`
      return new Map(Counts.parse(found).map(({ reason, count }) => [reason, count]))
    },
  }
}

function summaryQuery(by: SummaryBy, filter: Filter): Prisma.Sql {
  return Prisma.sql`
    WITH part AS (
      SELECT c.id, c.weight * coalesce(l.tokens / nullif(sum(l.tokens) OVER of_one, 0)::float8, 1.0 / count(*) OVER of_one) AS weight,
        l.language, l.community
      FROM contribution c LEFT JOIN contribution_language l ON l.contribution_id = c.id
      WHERE ${conditions('c', filter)} WINDOW of_one AS (PARTITION BY c.id)
    ), report AS (
      SELECT ${KEYS[by].accepted} AS key, count(DISTINCT c.id) AS accepted,
        sum(part.weight) AS weight, count(DISTINCT c.id) FILTER (WHERE c.weight IS NOT NULL) AS weighed,
        sum(l.tokens) AS tokens, sum(l.documents) AS documents,
        sum(l.loss_before * l.held_out_tokens) / nullif(sum(l.held_out_tokens), 0)::float8 AS before,
        sum(l.loss_after * l.held_out_tokens) / nullif(sum(l.held_out_tokens), 0)::float8 AS after
      FROM contribution c JOIN node n ON n.id = c.node_id JOIN member m ON m.id = n.member_id
        LEFT JOIN contribution_language l ON l.contribution_id = c.id
        JOIN part ON part.id = c.id AND part.language IS NOT DISTINCT FROM l.language
          AND part.community IS NOT DISTINCT FROM l.community
      WHERE ${conditions('c', filter)} GROUP BY 1
    ), refusal AS (${refusals(by, filter)})
    SELECT coalesce(report.key, refusal.key) AS key,
      coalesce(accepted, 0)::float8 AS accepted, coalesce(rejected, 0)::float8 AS rejected,
      coalesce(refusals, '{}') AS refusals, coalesce(weight, 0)::float8 AS weight,
      weight / nullif(weighed, 0)::float8 AS "meanWeight",
      coalesce(tokens, 0)::float8 AS tokens, coalesce(documents, 0)::float8 AS documents,
      before AS "lossBefore", after AS "lossAfter"
    FROM report FULL JOIN refusal ON report.key = refusal.key
    WHERE coalesce(report.key, refusal.key) IS NOT NULL
    ORDER BY ${orderOf(by)}`
}

/** Refused evaluations are not counted: the accounts are about updates. */
function refusals(by: SummaryBy, filter: Filter): Prisma.Sql {
  const key = KEYS[by].refused
  if (key === undefined) {
    return Prisma.sql`SELECT NULL::text AS key, 0 AS rejected, NULL::jsonb AS refusals WHERE false`
  }
  return Prisma.sql`
    SELECT key, sum(count) AS rejected, jsonb_object_agg(reason, count) AS refusals
    FROM (
      SELECT ${key} AS key, r.reason, count(*) AS count
      FROM rejection r LEFT JOIN node n ON n.id = r.node_id LEFT JOIN member m ON m.id = n.member_id
      WHERE r.kind <> 'evaluation' AND ${conditions('r', filter)} GROUP BY 1, 2
    ) AS by_reason WHERE key IS NOT NULL GROUP BY 1`
}

function conditions(table: 'c' | 'r', { run, node }: Filter): Prisma.Sql {
  const [runColumn, nodeColumn] = [Prisma.raw(`${table}.run_id`), Prisma.raw(`${table}.node_id`)]
  const ofRun = run === undefined ? Prisma.sql`true` : Prisma.sql`${runColumn} = ${run}`
  const ofNode = node === undefined ? Prisma.sql`true` : Prisma.sql`${nodeColumn} = ${node}`
  return Prisma.sql`${ofRun} AND ${ofNode}`
}

/** Rounds by run and number; everything else by its bytes, whatever the database's collation. */
function orderOf(by: SummaryBy): Prisma.Sql {
  const key = Prisma.sql`coalesce(report.key, refusal.key)`
  if (by !== 'round') return Prisma.sql`${key} COLLATE "C"`
  return Prisma.sql`split_part(${key}, '/', 1) COLLATE "C", split_part(${key}, '/', 2)::int`
}
