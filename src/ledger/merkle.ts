import { createHash } from 'node:crypto'

/** Bytes of a SHA-256 hash. */
export const HASH_BYTES = 32

/** Hash of an entry as a leaf (RFC 9162, 2.1.1): SHA-256(0x00 || entry), 32 bytes. */
export function leafHash(entry: Uint8Array): Buffer {
  return createHash('sha256').update(LEAF).update(entry).digest()
}

/** Hash of an inner node (RFC 9162, 2.1.1): SHA-256(0x01 || left || right), 32 bytes. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return createHash('sha256').update(NODE).update(left).update(right).digest()
}

// Leaves and nodes are hashed apart, so that nobody can pass a node off as an entry.
const LEAF = Buffer.of(0)
const NODE = Buffer.of(1)

/** Told of every complete subtree as it forms: its root, over the leaves [index 2^level, (index + 1) 2^level). */
export type OnNode = (level: number, index: number, hash: Buffer) => void

/**
 * A Merkle tree that only grows and holds no leaf: the roots of the complete subtrees of which its size is the sum, largest
 * first, at most 53 of them.
 */
export class GrowingTree {
  #size: number
  readonly #roots: Buffer[]

  /** Goes on from {@link size} and {@link frontier} of another; empty without. */
  constructor(size = 0, frontier: Uint8Array = Buffer.alloc(0)) {
    this.#size = size
    this.#roots = splitHashes(frontier)
  }

  /** Leaves. */
  get size(): number {
    return this.#size
  }

  /** The roots of the complete subtrees, largest first, 32 bytes each: all that is needed to go on. */
  get frontier(): Buffer {
    return Buffer.concat(this.#roots)
  }

  /** Merkle tree hash of all leaves (RFC 9162, 2.1.1); of none, the hash of nothing. */
  get root(): Buffer {
    return foldRoots(this.#roots)
  }

  /** Appends the leaf of this hash, and tells of the leaf and of every subtree that it completes. */
  append(leaf: Buffer, onNode?: OnNode): void {
    let index = this.#size++
    let hash = leaf
    onNode?.(0, index, hash)
    for (let level = 1; index % 2 === 1; level++) {
      hash = nodeHash(this.#roots.pop() ?? missingRoot(), hash)
      index = (index - 1) / 2
      onNode?.(level, index, hash)
    }
    this.#roots.push(hash)
  }
}

/** Root of the tree that consists of these complete subtrees, largest first; of none, the hash of nothing. */
export function foldRoots(roots: readonly Buffer[]): Buffer {
  const [last, ...others] = [...roots].reverse()
  if (last === undefined) return createHash('sha256').digest()
  return others.reduce((right, left) => nodeHash(left, right), last)
}

/** Hash of consecutive leaves or subtrees of one size. @param hashes at least one. */
export function rootOf(hashes: readonly Buffer[]): Buffer {
  const tree = new GrowingTree()
  for (const hash of hashes) tree.append(hash)
  return tree.root
}

/** Cuts concatenated hashes apart. */
export function splitHashes(bytes: Uint8Array): Buffer[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: buffer.length / HASH_BYTES }, (_, at) =>
    buffer.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  )
}

function missingRoot(): never {
  throw new RangeError('the frontier has fewer hashes than the size has bits')
}
