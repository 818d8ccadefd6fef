import { ensureDigest } from '../core/digest.ts'
import { ensureMemberId, ensureNodeId, ensureRecordId } from '../core/ids.ts'
import { compareText } from '../core/order.ts'
import type { DatasetRecord, Node } from '../gen/prisma/client.ts'
import type { Database } from './database.ts'
import type { Reader } from './reader.ts'
import type { DatasetRecordFilter, DatasetRecordRow } from './records.ts'
import type { Tx } from './store.ts'

type Reads = Pick<
  Reader,
  'datasetRecords' | 'findDatasetRecords' | 'countDatasetRecords' | 'declaring' | 'withdrawnRecords'
>
type Writes = Pick<Tx, 'createDatasetRecord' | 'withdrawDatasetRecords'>

const WITH_NODE = { include: { node: true } } as const

/** What nodes declare about their data: questions. */
export function datasetRecordReads(database: Database): Reads {
  return {
    datasetRecords: async (digests) => {
      const rows = await database.datasetRecord.findMany({
        where: { digest: { in: [...digests] } },
        orderBy: { digest: 'asc' },
        ...WITH_NODE,
      })
      return rows.map(datasetRecordRow)
    },
    findDatasetRecords: async (filter) => {
      const order = [{ registeredAt: 'desc' }, { digest: 'asc' }] as const
      const where = whereOf(filter)
      const rows = await database.datasetRecord.findMany({
        where,
        orderBy: [...order],
        take: filter.limit,
        ...WITH_NODE,
      })
      return rows.map(datasetRecordRow)
    },
    countDatasetRecords: (node) => database.datasetRecord.count({ where: { nodeId: node } }),
    declaring: async (nodes) => {
      const where = { nodeId: { in: [...nodes] } }
      const rows = await database.datasetRecord.groupBy({ by: ['nodeId'], where })
      return new Set(rows.map(({ nodeId }) => ensureNodeId(nodeId)))
    },
    withdrawnRecords: async (members) => {
      const where = { withdrawnAt: { not: null }, node: { memberId: { in: [...members] } } }
      const rows = await database.datasetRecord.findMany({ where, orderBy: { digest: 'asc' }, ...WITH_NODE })
      return rows.map(datasetRecordRow)
    },
  }
}

/** What nodes declare about their data: changes. */
export function datasetRecordWrites(database: Database): Writes {
  return {
    createDatasetRecord: async ({ digest, node, id, text, signature, evidence, content, registeredAt, ...row }) => {
      const signed = { record: text, signature: signature.value, keyId: signature.keyId }
      const data = { digest, nodeId: node, recordId: id, ...signed, evidence, content, public: row.public }
      const { count } = await database.datasetRecord.createMany({
        data: [{ ...data, registeredAt: new Date(registeredAt) }],
        skipDuplicates: true,
      })
      return count === 1
    },
    withdrawDatasetRecords: async ({ node, id, text, signature, at }) => {
      const where = { nodeId: node, recordId: id, withdrawnAt: null }
      const standing = await database.datasetRecord.findMany({ where, select: { digest: true } })
      const data = { withdrawnAt: new Date(at), withdrawal: text, withdrawalSignature: signature.value }
      await database.datasetRecord.updateMany({ where, data })
      return standing.map(({ digest }) => ensureDigest(digest)).sort(compareText)
    },
  }
}

function whereOf({ node, id, publicOnly }: DatasetRecordFilter) {
  const readable = publicOnly && {
    OR: [{ public: true }, ...(publicOnly.orOf === null ? [] : [{ nodeId: publicOnly.orOf }])],
  }
  return { ...(node && { nodeId: node }), ...(id && { recordId: id }), ...readable }
}

function datasetRecordRow(row: DatasetRecord & { node: Node }): DatasetRecordRow {
  return {
    digest: ensureDigest(row.digest),
    node: ensureNodeId(row.nodeId),
    member: ensureMemberId(row.node.memberId),
    id: ensureRecordId(row.recordId),
    text: row.record,
    signature: { keyId: row.keyId, value: row.signature },
    evidence: ensureDigest(row.evidence),
    content: ensureDigest(row.content),
    public: row.public,
    registeredAt: row.registeredAt.getTime(),
    withdrawnAt: row.withdrawnAt?.getTime() ?? null,
  }
}
