import { z } from 'zod'
import { ensureDigest } from '../core/digest.ts'
import { ensureChannelName, ensureNodeId, ensureRunId, type NodeId } from '../core/ids.ts'
import { compareText } from '../core/order.ts'
import type { Channel, Checkpoint, CheckpointFile, Upload } from '../gen/prisma/client.ts'
import { digestSchema } from '../model/parsing.ts'
import type { ChannelRow, CheckpointRow } from './checkpoint-row.ts'
import { newestFirst, parseStored, toCount } from './column.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { UploadRow } from './records.ts'
import type { AnnouncedBytes, CountedBytes, Tx } from './store.ts'

type Reads = Pick<
  Reader,
  | 'checkpoint'
  | 'checkpointByVersion'
  | 'checkpoints'
  | 'lineTo'
  | 'channel'
  | 'channels'
  | 'isReleased'
  | 'upload'
  | 'uploadsBeside'
  | 'uploadsOf'
>
type Writes = Pick<Tx, 'createCheckpoint' | 'moveChannel' | 'putUploads' | 'removeUploads' | 'countAnnounced'>

const Line = z.array(
  z.object({ digest: digestSchema, version: z.int(), round: z.int(), parent: digestSchema.nullable() }),
)
const Announced = z.array(
  z.object({ node: z.string().transform(ensureNodeId), counted: z.boolean(), until: z.number().nullable() }),
)
const WITH_FILES = { files: true } as const
const WITH_CHECKPOINT = { checkpoint: { select: { runId: true, version: true } } } as const

/** Checkpoints, channels and artifacts on their way in: questions. */
export function releaseReads(database: Database): Reads {
  return {
    checkpoint: async (digest) => {
      const row = await database.checkpoint.findUnique({ where: { digest }, include: WITH_FILES })
      return row === null ? undefined : checkpointRow(row)
    },
    checkpointByVersion: async (run, version) => {
      const where = { runId_version: { runId: run, version } }
      const row = await database.checkpoint.findUnique({ where, include: WITH_FILES })
      return row === null ? undefined : checkpointRow(row)
    },
    checkpoints: async ({ run, limit }) => {
      const where = run === undefined ? {} : { runId: run }
      const rows = await database.checkpoint.findMany({
        where,
        orderBy: newestFirst(run, { version: 'desc' }),
        take: limit,
        include: WITH_FILES,
      })
      return rows.map(checkpointRow)
    },
    lineTo: async (checkpoint) => {
      const found: unknown = await database.$queryRaw`
        WITH RECURSIVE line AS (
          SELECT digest, version, round, parent_digest, 0 AS back FROM checkpoint WHERE digest = ${checkpoint}
          UNION ALL
          SELECT p.digest, p.version, p.round, p.parent_digest, l.back + 1
          FROM checkpoint p JOIN line l ON p.digest = l.parent_digest
        ) SELECT digest, version, round, parent_digest AS parent FROM line ORDER BY back`
      return parseStored(Line, found, 'line of checkpoints')
    },
    channel: async (name) => {
      const row = await database.channel.findUnique({ where: { name }, include: WITH_CHECKPOINT })
      return row === null ? undefined : channelRow(row)
    },
    channels: async () => {
      const rows = await database.channel.findMany({ orderBy: { name: 'asc' }, include: WITH_CHECKPOINT })
      return rows.map(channelRow)
    },
    isReleased: async (file) => (await database.checkpointFile.findFirst({ where: { digest: file } })) !== null,
    upload: async (digest) => {
      const row = await database.upload.findUnique({ where: { digest } })
      return row === null ? undefined : uploadRow(row)
    },
    uploadsBeside: async (rows) => {
      const [nodes, digests] = [rows.map(({ node }) => node), rows.map(({ digest }) => digest)]
      const where = { OR: [{ nodeId: { in: nodes } }, { digest: { in: digests } }] }
      return (await database.upload.findMany({ where })).map(uploadRow)
    },
    uploadsOf: async (node) => {
      const newest = [{ createdAt: 'desc' as const }, { digest: 'asc' as const }]
      const rows = await database.upload.findMany({ where: { nodeId: node }, orderBy: newest })
      return rows.map(uploadRow)
    },
  }
}

/** Checkpoints, channels and artifacts on their way in: changes. */
export function releaseWrites(database: Database): Writes {
  return {
    createCheckpoint: async (row) => {
      await database.checkpoint.createMany({ data: [checkpointColumns(row)] })
      const files = row.files.map(({ path, digest, size }) => ({ path, digest, size: toCount(size) }))
      const data = files.map((file) => ({ ...file, checkpointDigest: row.digest }))
      if (data.length > 0) await database.checkpointFile.createMany({ data })
    },
    moveChannel: async (name, checkpoint, now) => {
      const target = { checkpointDigest: checkpoint, updatedAt: new Date(now) }
      await database.channel.upsert({ where: { name }, create: { name, ...target }, update: target })
    },
    putUploads: async (rows) => {
      if (rows.length === 0) return
      const at = rows.map(({ createdAt }) => new Date(createdAt))
      const [digests, nodes] = [rows.map(({ digest }) => digest), rows.map(({ node }) => node)]
      const sizes = rows.map(({ size }) => toCount(size))
      await database.$executeRaw`
        INSERT INTO upload (digest, size, node_id, created_at)
        SELECT * FROM unnest(${digests}::text[], ${sizes}::bigint[], ${nodes}::text[], ${at}::timestamptz[])
        ON CONFLICT (digest) DO UPDATE
          SET size = excluded.size, node_id = excluded.node_id, created_at = excluded.created_at`
    },
    removeUploads: async (digests) => {
      if (digests.length > 0) await database.upload.deleteMany({ where: { digest: { in: [...digests] } } })
    },
    countAnnounced: (announced) => countAnnounced(database, announced),
  }
}

async function countAnnounced(
  database: Database,
  announced: readonly AnnouncedBytes[],
): Promise<ReadonlyMap<NodeId, CountedBytes>> {
  if (announced.length === 0) return new Map()
  const nodes = announced.map(({ node }) => node)
  const bytes = announced.map((one) => toCount(one.bytes))
  const most = announced.map((one) => toCount(Math.min(one.most, Number.MAX_SAFE_INTEGER)))
  const found: unknown = await database.$queryRaw`
    WITH place AS (
      SELECT asked.*, coalesce(p.run_id, '') AS run_id, coalesce(p.round, 0) AS round, p.deadline
      FROM unnest(${nodes}::text[], ${bytes}::bigint[], ${most}::bigint[]) AS asked(node_id, more, most)
      LEFT JOIN LATERAL (
        SELECT e.run_id, e.round, r.deadline, a.bytes FROM roster_entry e
        JOIN round r ON r.run_id = e.run_id AND r.number = e.round
        LEFT JOIN announced_bytes a ON a.node_id = e.node_id AND a.run_id = e.run_id AND a.round = e.round
        WHERE e.node_id = asked.node_id
        ORDER BY r.phase = 'collecting' DESC,
          CASE WHEN r.phase = 'collecting' THEN coalesce(a.bytes, 0) ELSE 0 END, e.joined_at DESC, e.run_id LIMIT 1
      ) p ON true
    ), counted AS (
      INSERT INTO announced_bytes AS a (node_id, run_id, round, bytes)
      SELECT node_id, run_id, round, more FROM place WHERE more <= most
      ON CONFLICT (node_id, run_id, round) DO UPDATE SET bytes = a.bytes + excluded.bytes
        WHERE a.bytes + excluded.bytes <= (SELECT most FROM place WHERE place.node_id = a.node_id)
      RETURNING node_id
    ) SELECT node_id AS node, counted.node_id IS NOT NULL AS counted, extract(epoch FROM deadline)::float8 * 1000 AS until
    FROM place LEFT JOIN counted USING (node_id)`
  return new Map(parseStored(Announced, found, 'announced bytes').map(({ node, ...rest }) => [node, rest]))
}

function checkpointColumns(row: CheckpointRow) {
  return {
    digest: row.digest,
    runId: row.run,
    version: row.version,
    round: row.round,
    parentDigest: row.parent,
    manifest: row.manifest,
    signature: row.signature.value,
    keyId: row.signature.keyId,
    createdAt: new Date(row.createdAt),
  }
}

function checkpointRow(row: Checkpoint & { files: CheckpointFile[] }): CheckpointRow {
  const files = row.files.map(({ path, digest, size }) => ({ path, digest: ensureDigest(digest), size: Number(size) }))
  return {
    digest: ensureDigest(row.digest),
    run: ensureRunId(row.runId),
    version: row.version,
    round: row.round,
    parent: row.parentDigest === null ? null : ensureDigest(row.parentDigest),
    manifest: row.manifest,
    signature: { keyId: row.keyId, value: row.signature },
    files: files.sort((a, b) => compareText(a.path, b.path)),
    createdAt: row.createdAt.getTime(),
    ...(row.revocation !== null && { revocation: row.revocation }),
  }
}

function channelRow(row: Channel & { checkpoint: { runId: string; version: number } }): ChannelRow {
  return {
    name: ensureChannelName(row.name),
    checkpoint: ensureDigest(row.checkpointDigest),
    run: ensureRunId(row.checkpoint.runId),
    version: row.checkpoint.version,
    updatedAt: row.updatedAt.getTime(),
  }
}

function uploadRow(row: Upload): UploadRow {
  const { digest, size, nodeId, createdAt } = row
  return {
    digest: ensureDigest(digest),
    size: Number(size),
    node: ensureNodeId(nodeId),
    createdAt: createdAt.getTime(),
  }
}
