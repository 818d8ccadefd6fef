import { ensureDigest } from '../core/digest.ts'
import { ensureNodeId, type RoundKey } from '../core/ids.ts'
import { randomFrom, shuffled } from '../plan/random.ts'
import { assignReviewers } from '../policy/reviewers.ts'
import type { Tx } from './store.ts'

/**
 * Names the reviewers of a round that has sealed. The draw is fixed by the ids of all contributions, each of which
 * its node's nonce and delta went into: nobody knows it before the last one is in, and nobody has scored by then.
 * @returns how many reviews are asked for.
 */
export async function assignReviews(tx: Tx, key: RoundKey): Promise<number> {
  const [rows, nodes] = await Promise.all([tx.contributions(key), tx.nodes()])
  const members = new Map(nodes.map(({ id, member }): [string, string] => [id, member]))
  const contributors = rows.map(({ id, node, languages }) => {
    return { id, node, member: members.get(node) ?? '', languages: languages.map(({ language }) => language) }
  })
  const ids = rows.map(({ id }) => id).sort()
  const random = randomFrom(`reviewers ${key.run} ${key.number} ${ids.join(' ')}`)
  const assigned = assignReviewers(contributors, (items) => shuffled(items, random))
  await tx.createReviews(
    key,
    assigned.map(({ contribution, reviewer }) => {
      return { contribution: ensureDigest(contribution), reviewer: ensureNodeId(reviewer) }
    }),
  )
  return assigned.length
}
