import { nodeHash } from './merkle.ts'

/** Leaves from `start` up to, not including, `end`. */
export type LeafRange = { readonly start: number; readonly end: number }

/**
 * The subtrees whose hashes prove that a leaf is in a tree, in the order of the proof (RFC 9162, 2.1.3.1).
 * @param index of the leaf, from 0 and below `size`.
 */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  const path: LeafRange[] = []
  let [start, end] = [0, size]
  while (end - start > 1) {
    const split = start + splitOf(end - start)
    path.push(index < split ? { start: split, end } : { start, end: split })
    if (index < split) end = split
    else start = split
  }
  return path.reverse()
}

/**
 * The subtrees whose hashes prove that a tree grew out of a smaller one, in the order of the proof (RFC 9162, 2.1.4.1).
 * None where `first` is 0 or `second`: there the roots alone say it.
 */
export function consistencyRanges(first: number, second: number): LeafRange[] {
  const path: LeafRange[] = []
  let [start, end] = [0, second]
  while (first > 0 && first < end) {
    const split = start + splitOf(end - start)
    path.push(first <= split ? { start: split, end } : { start, end: split })
    if (first <= split) end = split
    else start = split
  }
  // The verifier knows the first tree's root, so the subtree that is the first tree goes without saying.
  if (start > 0) path.push({ start, end })
  return path.reverse()
}

/** The largest power of two below `size`, which is at least 2. */
function splitOf(size: number): number {
  let split = 1
  while (split * 2 < size) split *= 2
  return split
}

/** A tree by its size and its root hash. */
export type TreeHead = { readonly size: number; readonly root: Uint8Array }

/** True when `proof` shows the leaf of this hash at `index` of the tree (RFC 9162, 2.1.3.2). */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  { size, root }: TreeHead,
  proof: readonly Uint8Array[],
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size) return false
  let place = { first: index, last: size - 1 }
  let hash = leaf
  for (const sibling of proof) {
    if (place.last === 0) return false
    if (isRight(place)) {
      hash = nodeHash(sibling, hash)
      place = skipMissing(place)
    } else hash = nodeHash(hash, sibling)
    place = half(place)
  }
  return place.last === 0 && equal(hash, root)
}

/** True when `proof` shows that the tree `second` begins with all leaves of `first` in order (RFC 9162, 2.1.4.2). */
export function verifyConsistency(first: TreeHead, second: TreeHead, proof: readonly Uint8Array[]): boolean {
  if (!isCount(first.size) || !isCount(second.size) || first.size > second.size) return false
  if (first.size === second.size) return proof.length === 0 && equal(first.root, second.root)
  if (first.size === 0) return proof.length === 0
  let place = { first: first.size - 1, last: second.size - 1 }
  while (place.first % 2 === 1) place = half(place)
  // A power of two is one complete subtree: its hash is the first root and is not sent.
  const [start, ...rest] = place.first === 0 ? [first.root, ...proof] : proof
  if (start === undefined || proof.length === 0) return false
  let [old, grown] = [start, start]
  for (const hash of rest) {
    if (place.last === 0) return false
    if (isRight(place)) {
      old = nodeHash(hash, old)
      grown = nodeHash(hash, grown)
      place = skipMissing(place)
    } else grown = nodeHash(grown, hash)
    place = half(place)
  }
  return place.last === 0 && equal(old, first.root) && equal(grown, second.root)
}

/** Where a walk towards the root stands: its node and the last node of the same level. Numbers may pass 2^31. */
type Place = { readonly first: number; readonly last: number }

const half = ({ first, last }: Place): Place => ({ first: Math.floor(first / 2), last: Math.floor(last / 2) })

const isRight = ({ first, last }: Place) => first % 2 === 1 || first === last

/** The last node of a level may have no sibling: it goes up unchanged until it is a right child. */
function skipMissing(place: Place): Place {
  let at = place
  while (at.first % 2 === 0 && at.first !== 0) at = half(at)
  return at
}

const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0

const equal = (a: Uint8Array, b: Uint8Array) => Buffer.from(a).equals(b)
