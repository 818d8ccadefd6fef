import { describe, expect, it } from 'vitest'
import { GrowingTree, leafHash } from './merkle.ts'
import { verifyConsistency, verifyInclusion } from './proof.ts'
import {
  decodeBundle,
  encodeBundle,
  parseTilePath,
  proveConsistency,
  proveInclusion,
  tilePath,
  tilesOf,
} from './tile.ts'

const withCode = (code: string) => expect.objectContaining({ code })

describe('tile paths', () => {
  it('are those of the specification', () => {
    expect(tilePath({ level: 0, index: 1_234_067, width: 256 })).toBe('tile/0/x001/x234/067')
    expect(tilePath({ level: 1, index: 0, width: 1 })).toBe('tile/1/000.p/1')
    expect(tilePath({ level: 'entries', index: 999, width: 255 })).toBe('tile/entries/999.p/255')
    expect(tilePath({ level: 'entries', index: 1000, width: 256 })).toBe('tile/entries/x001/000')
  })

  it('are read back', () => {
    const indexes = [0, 7, 999, 1000, 1_234_067, 999_999_999]
    for (const level of [0, 3, 6, 'entries'] as const) {
      for (const index of indexes) {
        for (const width of [1, 255, 256]) {
          expect(parseTilePath(tilePath({ level, index, width }))).toEqual({ level, index, width })
        }
      }
    }
  })

  it.each([
    'tile/0/0',
    'tile/0/0000',
    'tile/00/000',
    'tile/7/000',
    'tile/-1/000',
    'tile/0/x000/001',
    'tile/0/x1/000',
    'tile/0/001/000',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/007',
    'tile/0/000.p/1/',
    'tile/0/000/../000',
    'tile/entries/000?x',
    'tile/0/x999/x999/x999/x999/x999/x999/999',
    'tile/data/000',
    '',
  ])('refuse %j', (path) => {
    expect(parseTilePath(path)).toBeUndefined()
  })

  it('are all tiles of a tree', () => {
    const paths = (size: number) => [...tilesOf(size)].map(tilePath)
    expect(paths(0)).toEqual([])
    expect(paths(1)).toEqual(['tile/entries/000.p/1', 'tile/0/000.p/1'])
    expect(paths(256)).toEqual(['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1'])
    expect(paths(600)).toEqual([
      ...['tile/entries/000', 'tile/entries/001', 'tile/entries/002.p/88'],
      ...['tile/0/000', 'tile/0/001', 'tile/0/002.p/88', 'tile/1/000.p/2'],
    ])
  })
})

describe('bundles', () => {
  const entries = ['one', '', 'three'].map((text) => Buffer.from(text))

  it('hold each entry behind its length', () => {
    expect(encodeBundle(entries).toString('hex')).toBe('00036f6e65000000057468726565')
    expect(decodeBundle(encodeBundle(entries), 3)).toEqual(entries)
  })

  it('hold entries of up to 65,535 bytes', () => {
    expect(decodeBundle(encodeBundle([Buffer.alloc(65_535, 1)]), 1)).toEqual([Buffer.alloc(65_535, 1)])
    expect(() => encodeBundle([Buffer.alloc(65_536)])).toThrow(withCode('INVALID_ARGUMENT'))
  })

  it('are refused when they are cut anywhere, or hold more or fewer entries', () => {
    const bundle = encodeBundle(entries)
    for (let cut = 0; cut < bundle.length; cut++) {
      expect(() => decodeBundle(bundle.subarray(0, cut), 3)).toThrow(withCode('VERIFICATION_FAILED'))
    }
    expect(() => decodeBundle(bundle, 2)).toThrow(withCode('VERIFICATION_FAILED'))
    expect(() => decodeBundle(Buffer.concat([bundle, Buffer.of(0)]), 3)).toThrow(withCode('VERIFICATION_FAILED'))
  })
})

describe('proofs from the tiles of a large log', () => {
  const SIZE = 70_000
  const OLD = 65_900
  const tree = new GrowingTree()
  const levels: Buffer[][] = [[], [], []]
  let old = tree.root
  for (let index = 0; index < SIZE; index++) {
    if (index === OLD) old = tree.root
    tree.append(leafHash(Buffer.from(String(index))), (height, _, hash) => {
      if (height % 8 === 0) levels[height / 8]?.push(hash)
    })
  }
  const head = { size: SIZE, root: tree.root }
  let reads = 0
  const read = async ({ level, index, width }: { level: number; index: number; width: number }) => {
    reads++
    return Buffer.concat((levels[level] ?? []).slice(index * 256, index * 256 + width))
  }

  it('hold, and read at most two tiles a level', async () => {
    for (const index of [0, 255, 256, 65_535, 65_536, SIZE - 1]) {
      reads = 0
      const proof = await proveInclusion(index, SIZE, read)
      expect(verifyInclusion(leafHash(Buffer.from(String(index))), index, head, proof)).toBe(true)
      expect(reads).toBeLessThanOrEqual(6)
    }
    const proof = await proveConsistency(OLD, SIZE, read)
    expect(verifyConsistency({ size: OLD, root: old }, head, proof)).toBe(true)
  })

  it('are refused from a tile that is cut', async () => {
    const cut = async (tile: Parameters<typeof read>[0]) => (await read(tile)).subarray(0, tile.width * 32 - 1)
    await expect(proveInclusion(3, SIZE, cut)).rejects.toThrow(withCode('VERIFICATION_FAILED'))
  })
})
