import { z } from 'zod'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { ensureMemberId, type RoundKey } from '../core/ids.ts'
import { compareText } from '../core/order.ts'
import { Prisma } from '../gen/prisma/client.ts'
import { branded, digestSchema } from '../model/parsing.ts'
import type { TrainingShare } from '../model/training-content.ts'
import { parseStored, toCount } from './column.ts'
import type { Database } from './database.ts'
import { datasetRecordReads } from './dataset-records.ts'
import type { Reader } from './reader.ts'
import type { Tx } from './store.ts'

const Shares = z.array(
  z.object({
    member: branded(ensureMemberId),
    language: z.string(),
    community: z.string(),
    tokens: z.number(),
    documents: z.number(),
  }),
)

const Digests = z.array(z.object({ digest: digestSchema }))

type Reads = Pick<Reader, 'attestations' | 'attestation' | 'trainingShares' | 'trainingRecords'>

/** Documents about checkpoints, and what they are filled from: questions. */
export function attestationReads(database: Database): Reads {
  return {
    attestations: async (checkpoint) => {
      const where = { checkpointDigest: checkpoint }
      const rows = await database.attestation.findMany({ where, select: { path: true, digest: true, size: true } })
      const files = rows.map(({ path, digest, size }) => ({ path, digest: ensureDigest(digest), size: Number(size) }))
      return files.sort((a, b) => compareText(a.path, b.path))
    },
    attestation: async (checkpoint, path) => {
      const where = { checkpointDigest_path: { checkpointDigest: checkpoint, path } }
      return (await database.attestation.findUnique({ where, select: { content: true } }))?.content
    },
    trainingShares: async (key, base) => {
      const found: unknown = await database.$queryRaw`
        ${lineage(key, base)}
        SELECT n.member_id AS member, t.language, t.community,
          sum(t.tokens)::float8 AS tokens, sum(t.documents)::float8 AS documents
        FROM merged m
        JOIN contribution c ON c.id = m.id
        JOIN contribution_language t ON t.contribution_id = c.id
        JOIN node n ON n.id = c.node_id
        GROUP BY 1, 2, 3
        ORDER BY n.member_id COLLATE "C", t.language COLLATE "C", t.community COLLATE "C"`
      return parseStored(Shares, found, 'account of training data') satisfies TrainingShare[]
    },
    trainingRecords: async (key, base) => {
      const found: unknown = await database.$queryRaw`
        ${lineage(key, base)}
        SELECT DISTINCT r.digest
        FROM merged m
        JOIN contribution_record u ON u.contribution_id = m.id
        JOIN dataset_record r ON r.digest = u.record_digest AND r.public`
      const digests = parseStored(Digests, found, 'records of training data')
        .map(({ digest }) => digest)
        .sort(compareText)
      return datasetRecordReads(database).datasetRecords(digests)
    },
  }
}

/**
 * What was merged in a round and those before it, along the parents: a run that goes back to an older checkpoint leaves
 * rounds behind. A revision merged what other rounds were handed in for.
 */
function lineage({ run, number }: RoundKey, base: Digest) {
  return Prisma.sql`
    WITH RECURSIVE lineage AS (
      SELECT ${run}::text AS run_id, ${number}::int AS round, ${base}::text AS parent
      UNION ALL
      SELECT p.run_id, p.round, p.parent_digest FROM checkpoint p JOIN lineage l ON p.digest = l.parent
    ), merged AS (
      SELECT c.id FROM lineage l JOIN contribution c ON c.run_id = l.run_id AND c.round = l.round AND c.weight > 0
      UNION ALL
      SELECT m.contribution_id FROM lineage l
      JOIN remerge m ON m.run_id = l.run_id AND m.revision = l.round AND m.weight > 0
    )`
}

/** Documents about checkpoints: changes. */
export function attestationWrites(database: Database): Pick<Tx, 'createAttestations'> {
  return {
    createAttestations: async (checkpoint, rows) => {
      const data = rows.map((row) => ({ ...row, size: toCount(row.size), checkpointDigest: checkpoint }))
      if (data.length > 0) await database.attestation.createMany({ data })
    },
  }
}
