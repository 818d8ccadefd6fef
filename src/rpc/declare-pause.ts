import type { Context } from '../context.ts'
import type { DeclarePauseRequest } from '../gen/proto/tapestry/v1/node_pb.ts'
import { requireNode } from '../store/membership.ts'
import { standDown } from '../store/stand-down.ts'
import type { NodePrincipal } from './auth.ts'

/** Notes that the calling node stands aside, and ends its part in live rounds; or that it is back. Repeating it changes nothing. */
export async function declarePause(context: Context, { paused }: DeclarePauseRequest, { node: { id } }: NodePrincipal) {
  await context.store.transact('declare-pause', async (tx) => {
    const now = context.clock.now()
    const node = await requireNode(tx, id)
    if (paused === (node.pausedAt !== null)) return
    await tx.setPaused(id, paused ? now : null)
    if (paused) await standDown(tx, id, now)
  })
  return {}
}
