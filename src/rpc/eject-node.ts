import type { Context } from '../context.ts'
import { ensureNodeId } from '../core/ids.ts'
import type { EjectNodeRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { changeStatus } from '../store/membership.ts'
import { nodeMessage } from './list-nodes.ts'
import { ensureReason } from './node-reason.ts'

/** Bars a node for good. What it contributed to live rounds does not count; released checkpoints are as they were. */
export async function ejectNode(context: Context, request: EjectNodeRequest) {
  const id = ensureNodeId(request.node)
  const reason = ensureReason(request.reason)
  const { node, dropped } = await context.store.transact('eject-node', (tx) =>
    changeStatus(tx, id, 'eject', reason, context.clock.now()),
  )
  return { node: nodeMessage(node), dropped: [...dropped] }
}
