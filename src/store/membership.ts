import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId } from '../core/ids.ts'
import { type StatusChange, statusAfter } from '../policy/membership.ts'
import type { NodeRow } from './records.ts'
import { dropOut, standDown } from './stand-down.ts'
import type { Tx } from './store.ts'

/** @throws TapestryError NOT_FOUND */
export async function requireNode(tx: Pick<Tx, 'node'>, id: NodeId): Promise<NodeRow> {
  const node = await tx.node(id)
  if (node === undefined) throw new TapestryError('NOT_FOUND', `there is no node ${id}`)
  return node
}

/**
 * What operators do about a node: its status, the rounds it is in, and the log, together. Repeating it changes nothing.
 * @returns the node, and the contributions to live rounds that no longer count.
 * @throws TapestryError NOT_FOUND; FAILED_PRECONDITION for a node that has left or was ejected.
 */
export async function changeStatus(
  tx: Tx,
  id: NodeId,
  change: StatusChange,
  reason: string,
  now: Millis,
): Promise<{ readonly node: NodeRow; readonly dropped: readonly Digest[] }> {
  const node = await requireNode(tx, id)
  const status = statusAfter(node.status, change)
  if (status === node.status) return { node, dropped: [] }
  await tx.setNodeStatus(id, status, reason, now)
  const dropped = status === 'ejected' ? await dropOut(tx, id, now) : []
  if (status === 'suspended') await standDown(tx, id, now)
  await tx.appendToLedger({ type: 'node-status', node: id, status, reason, dropped: [...dropped] }, now)
  return { node: { ...node, status, statusReason: reason, statusSince: now }, dropped }
}
