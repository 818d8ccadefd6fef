import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { ensureNodeId } from '../core/ids.ts'
import type { ListRecordsRequest } from '../gen/proto/tapestry/v1/record_pb.ts'
import type { Principal } from './auth.ts'
import { limitOf, signatureMessage } from './message.ts'

/** Dataset records that the caller may read, newest first. */
export async function listRecords(context: Context, request: ListRecordsRequest, principal: Principal) {
  const { reader } = context.store
  const node = request.node === '' ? undefined : ensureNodeId(request.node)
  if (node !== undefined && (await reader.node(node)) === undefined) {
    throw new TapestryError('NOT_FOUND', `there is no node ${node}`)
  }
  const rows = await reader.findDatasetRecords({
    ...(node !== undefined && { node }),
    ...(principal.kind !== 'operator' && {
      publicOnly: { orOf: principal.kind === 'node' ? principal.node.id : null },
    }),
    limit: limitOf(request.limit),
  })
  const records = rows.map((row) => ({
    digest: row.digest,
    node: row.node,
    member: row.member,
    record: Buffer.from(row.text, 'utf8'),
    signature: signatureMessage(row.signature),
    registeredMs: BigInt(row.registeredAt),
    withdrawnMs: BigInt(row.withdrawnAt ?? 0),
  }))
  return { records }
}
