import type { Context } from '../context.ts'
import { ensureNodeId } from '../core/ids.ts'
import type { SuspendNodeRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { changeStatus } from '../store/membership.ts'
import { nodeMessage } from './list-nodes.ts'
import { ensureReason } from './node-reason.ts'

/** Bars a node until it is reinstated. Rounds do not wait for it; what it contributed stays. */
export async function suspendNode(context: Context, request: SuspendNodeRequest) {
  const id = ensureNodeId(request.node)
  const reason = ensureReason(request.reason)
  const { node } = await context.store.transact('suspend-node', (tx) =>
    changeStatus(tx, id, 'suspend', reason, context.clock.now()),
  )
  return { node: nodeMessage(node) }
}
