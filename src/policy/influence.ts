import { TapestryError } from '../core/error.ts'

/** Names the rule that decided a weight, so that an old decision can be read by its own rule. */
export const INFLUENCE_POLICY = 'uniform/1'

/** What a weight is decided from. `norm` is the Euclidean norm of the delta. */
export type Influencer = {
  readonly id: string
  readonly node: string
  readonly member: string
  readonly norm: number
}

/** One contribution's share in the merge, 0 to 1, exactly as the merge uses it, and the reason in words. */
export type WeightDecision = { readonly id: string; readonly value: number; readonly reason: string }

/**
 * Gives every contribution the same share, 1/n in 64-bit floating point. Weighting by the amount
 * of data would let whoever has (or claims) the most decide what the model becomes, so amounts are
 * not even looked at.
 * @returns decisions ordered by node id, which is the order of the merge: arrival order cannot matter.
 * @throws TapestryError INVALID_ARGUMENT for none, for a node that appears twice (its influence
 * would count double) and for a norm that is not a finite number from 0.
 */
export function decideWeights(contributions: readonly Influencer[]): WeightDecision[] {
  const ordered = byNode(contributions)
  const count = ordered.length
  if (count === 0) throw new TapestryError('INVALID_ARGUMENT', 'there is no contribution to weigh')
  ordered.forEach(ensureSound)
  const reason = `${INFLUENCE_POLICY}: an equal share among ${count} accepted contribution${count === 1 ? '' : 's'}`
  return ordered.map(({ id }) => ({ id, value: 1 / count, reason }))
}

/** Orders by node id, compared by UTF-16 code units: the same on every machine, unlike locale order. */
export function byNode<T extends { readonly node: string }>(rows: readonly T[]): T[] {
  return [...rows].sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0))
}

function ensureSound(one: Influencer, index: number, ordered: readonly Influencer[]): void {
  if (ordered[index - 1]?.node === one.node) {
    throw new TapestryError('INVALID_ARGUMENT', `${one.node} contributes twice to one merge`)
  }
  if (!Number.isFinite(one.norm) || one.norm < 0) {
    throw new TapestryError('INVALID_ARGUMENT', `the delta of ${one.node} has the norm ${one.norm}`)
  }
}
