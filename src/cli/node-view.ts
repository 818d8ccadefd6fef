import type { Json } from '../core/canonical-json.ts'
import type { Node } from '../gen/proto/tapestry/v1/operator_pb.ts'

/** What operators know of a node. */
export function nodeJson(node: Node): Json {
  const { id, name, member, status, jurisdiction, reason, keyChanges } = node
  return {
    id,
    name,
    member,
    status,
    statusSinceMs: Number(node.statusSinceMs),
    reason: reason || null,
    pausedSinceMs: node.pausedSinceMs === 0n ? null : Number(node.pausedSinceMs),
    keyChanges,
    keysSinceMs: Number(node.keysSinceMs),
    enrolledMs: Number(node.enrolledMs),
    jurisdiction: jurisdiction || null,
  }
}

/** A pause is the node's own; a node that is barred is more than paused. */
export function statusText({ status, pausedSinceMs }: Node): string {
  return status === 'active' && pausedSinceMs > 0n ? 'paused' : status
}
