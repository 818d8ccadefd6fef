import type { Context } from '../context.ts'
import { ensureNodeId } from '../core/ids.ts'
import type { ReinstateNodeRequest } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { changeStatus } from '../store/membership.ts'
import { nodeMessage } from './list-nodes.ts'
import { ensureReason } from './node-reason.ts'

/** Lets a suspended node in again. */
export async function reinstateNode(context: Context, request: ReinstateNodeRequest) {
  const id = ensureNodeId(request.node)
  const reason = ensureReason(request.reason)
  const { node } = await context.store.transact('reinstate-node', (tx) =>
    changeStatus(tx, id, 'reinstate', reason, context.clock.now()),
  )
  return { node: nodeMessage(node) }
}
