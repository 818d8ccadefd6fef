import type { Context } from '../context.ts'
import type { ListRevocationsRequest } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import type { NodePrincipal, OperatorPrincipal } from './auth.ts'
import { limitOf } from './message.ts'
import { revocationMessage } from './revocation-message.ts'
import { runFilter } from './run-filter.ts'

/** Revocations, newest first: operators see all, a node those that it asked for. */
export async function listRevocations(
  context: Context,
  request: ListRevocationsRequest,
  principal: NodePrincipal | OperatorPrincipal,
) {
  const rows = await context.store.reader.revocations({
    ...(await runFilter(context.store.reader, request.run)),
    ...(principal.kind === 'node' && { requestedBy: principal.node.id }),
    limit: limitOf(request.limit),
  })
  return { revocations: rows.map(revocationMessage) }
}
