import type { MessageInitShape } from '@bufbuild/protobuf'
import type { Context } from '../context.ts'
import type { NodeSchema } from '../gen/proto/tapestry/v1/operator_pb.ts'
import type { NodeRow } from '../store/records.ts'

/** Every node that has ever enrolled. */
export async function listNodes(context: Context) {
  const rows = await context.store.reader.nodes()
  const members = await context.store.reader.members()
  const jurisdictions = new Map(members.map(({ id, jurisdiction }) => [id, jurisdiction]))
  return { nodes: rows.map((row) => nodeMessage(row, jurisdictions.get(row.member) ?? '')) }
}

export function nodeMessage(row: NodeRow, jurisdiction = ''): MessageInitShape<typeof NodeSchema> {
  return {
    id: row.id,
    name: row.name,
    member: row.member,
    status: row.status,
    enrolledMs: BigInt(row.enrolledAt),
    jurisdiction,
    statusSinceMs: BigInt(row.statusSince ?? row.enrolledAt),
    reason: row.statusReason ?? '',
    pausedSinceMs: BigInt(row.pausedAt ?? 0),
    keyChanges: row.keyChanges,
    keysSinceMs: BigInt(row.keysSince ?? row.enrolledAt),
  }
}
