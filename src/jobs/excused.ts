import type { RoundKey } from '../core/ids.ts'
import type { Tx } from '../store/store.ts'

/** Contributors that will not report about a candidate: they have declined, or the node has gone, is barred or paused. */
export async function excusedFrom(tx: Tx, key: RoundKey): Promise<number> {
  const [roster, nodes] = await Promise.all([tx.roster(key), tx.nodes()])
  const away = new Set(
    nodes.filter(({ status, pausedAt }) => status !== 'active' || pausedAt !== null).map(({ id }) => id),
  )
  return roster.filter(({ standing, declined, node }) => standing === 'accepted' && (declined || away.has(node))).length
}
