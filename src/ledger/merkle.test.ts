import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { GrowingTree, leafHash } from './merkle.ts'
import { verifyConsistency, verifyInclusion } from './proof.ts'
import { hashesOfLevel, proveConsistency, proveInclusion, type TileReader } from './tile.ts'

const sha256 = (...parts: readonly Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest()

/** RFC 9162, 2.1.1, word for word. */
function mth(leaves: readonly Uint8Array[]): Buffer {
  if (leaves.length === 0) return sha256()
  if (leaves.length === 1) return sha256(Buffer.of(0), leaves[0] ?? Buffer.of())
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return sha256(Buffer.of(1), mth(leaves.slice(0, k)), mth(leaves.slice(k)))
}

const MOST = 300
const entries = Array.from({ length: MOST }, (_, index) => Buffer.from(`entry ${index}`))
/** The tree of every size, and the hashes of its tile levels. */
const heads: { size: number; root: Buffer }[] = []
const levels: Buffer[][] = [[], [], []]
const tree = new GrowingTree()
heads.push({ size: 0, root: tree.root })
for (const entry of entries) {
  tree.append(leafHash(entry), (height, _, hash) => {
    if (height % 8 === 0) levels[height / 8]?.push(hash)
  })
  heads.push({ size: tree.size, root: tree.root })
}
const head = (size: number) => heads[size] ?? { size, root: Buffer.alloc(32) }

/** Answers the tile as a log of `size` leaves would: nothing that is not yet in it. */
function readerOf(size: number): TileReader {
  return async ({ level, index, width }) => {
    expect(index * 256 + width).toBeLessThanOrEqual(hashesOfLevel(level, size))
    return Buffer.concat((levels[level] ?? []).slice(index * 256, index * 256 + width))
  }
}

function flipped(hash: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(hash)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}

describe('the tree', () => {
  it('has the roots of the tree that certificate transparency tests with', () => {
    const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
    const ct = new GrowingTree()
    const roots = leaves.map((leaf) => {
      ct.append(leafHash(Buffer.from(leaf, 'hex')))
      return ct.root.toString('hex')
    })
    expect(roots).toEqual([
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
      'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
      '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
      '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
      'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
      '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
    ])
    expect(new GrowingTree().root.toString('hex')).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    )
  })

  it('is the recursive definition, whatever the size', () => {
    for (let size = 0; size <= MOST; size++) expect(head(size).root).toEqual(mth(entries.slice(0, size)))
  })

  it('goes on from its frontier', () => {
    for (const size of [0, 1, 7, 255, 256, 257]) {
      const first = new GrowingTree()
      for (const entry of entries.slice(0, size)) first.append(leafHash(entry))
      const second = new GrowingTree(first.size, first.frontier)
      for (const entry of entries.slice(size)) second.append(leafHash(entry))
      expect(second.root).toEqual(head(MOST).root)
    }
  })
})

describe('an inclusion proof', () => {
  it('holds for every leaf of every size, and for no other leaf, size or root', async () => {
    for (let size = 1; size <= MOST; size++) {
      for (let index = size % 3; index < size; index += size > 40 ? 7 : 1) {
        const proof = await proveInclusion(index, size, readerOf(size))
        const leaf = leafHash(entries[index] ?? Buffer.of())
        expect(verifyInclusion(leaf, index, head(size), proof)).toBe(true)
        expect(verifyInclusion(leaf, index + 1, head(size), proof)).toBe(false)
        expect(verifyInclusion(flipped(leaf, index % 256), index, head(size), proof)).toBe(false)
        expect(verifyInclusion(leaf, index, { size, root: head(size - 1).root }, proof)).toBe(false)
        expect(verifyInclusion(leaf, index, head(size), [...proof, leaf])).toBe(false)
        if (proof.length > 0) expect(verifyInclusion(leaf, index, head(size), proof.slice(1))).toBe(false)
      }
    }
  })

  it('fails with any bit of it flipped', async () => {
    const proof = await proveInclusion(133, MOST, readerOf(MOST))
    const leaf = leafHash(entries[133] ?? Buffer.of())
    for (let bit = 0; bit < proof.length * 256; bit++) {
      const forged = proof.map((hash, at) => (at === bit >> 8 ? flipped(hash, bit & 255) : hash))
      expect(verifyInclusion(leaf, 133, head(MOST), forged)).toBe(false)
    }
  })

  it('is refused for numbers that are none', () => {
    const leaf = leafHash(entries[0] ?? Buffer.of())
    for (const index of [-1, 0.5, Number.NaN, 1, Number.POSITIVE_INFINITY]) {
      expect(verifyInclusion(leaf, index, head(1), [])).toBe(false)
    }
    expect(verifyInclusion(leaf, 0, { size: Number.NaN, root: head(1).root }, [])).toBe(false)
  })
})

describe('a consistency proof', () => {
  it('holds between any two sizes, and for no other root', async () => {
    for (let second = 0; second <= MOST; second++) {
      for (let first = second % 5; first <= second; first += second > 40 ? 5 : 1) {
        const proof = await proveConsistency(first, second, readerOf(second))
        expect(verifyConsistency(head(first), head(second), proof)).toBe(true)
        const other = { size: second, root: flipped(head(second).root, first % 256) }
        if (first > 0) expect(verifyConsistency(head(first), other, proof)).toBe(false)
        if (first === 0 || first === second) continue
        const forked = { size: first, root: flipped(head(first).root, second % 256) }
        expect(verifyConsistency(forked, head(second), proof)).toBe(false)
        expect(verifyConsistency(head(first), head(second), proof.slice(1))).toBe(false)
        expect(verifyConsistency(head(first), head(second), [])).toBe(false)
        expect(verifyConsistency(head(second), head(first), proof)).toBe(false)
      }
    }
  })

  it('fails with any bit of it flipped', async () => {
    for (const first of [128, 200, 256]) {
      const proof = await proveConsistency(first, MOST, readerOf(MOST))
      for (let bit = 0; bit < proof.length * 256; bit++) {
        const forged = proof.map((hash, at) => (at === bit >> 8 ? flipped(hash, bit & 255) : hash))
        expect(verifyConsistency(head(first), head(MOST), forged)).toBe(false)
      }
    }
  })
})
