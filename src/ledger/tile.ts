import { TapestryError } from '../core/error.ts'
import { foldRoots, HASH_BYTES, rootOf, splitHashes } from './merkle.ts'
import { consistencyRanges, inclusionRanges, type LeafRange } from './proof.ts'

/**
 * Tiles (C2SP tlog-tiles): the hashes of a tree cut into files that never change. A tile of level L holds the hashes of up to
 * 256 neighbouring complete subtrees of 256^L leaves; the entries are bundled alike.
 */
export type Tile = {
  /** Level of the hashes; `entries` for a bundle of entries. */
  readonly level: number | 'entries'
  /** Counts tiles of the level. */
  readonly index: number
  /** Hashes or entries in it, 1 to 256; below 256 it is the partial tile at the edge of some tree. */
  readonly width: number
}

export const TILE_WIDTH = 256
/** Levels of the binary tree between two levels of tiles. */
export const TILE_HEIGHT = 8
/** Leaves of 2^53 - 1 entries reach level 6. */
const TOP_LEVEL = 6
/** What the two bytes of an entry's length in a bundle can say. */
export const MAX_ENTRY_BYTES = 0xffff

/** The path of a tile below the log's prefix, such as `tile/0/x001/067.p/8`. */
export function tilePath({ level, index, width }: Tile): string {
  const digits = String(index).padStart(Math.ceil(String(index).length / 3) * 3, '0')
  const groups = digits.match(/\d{3}/g) ?? []
  const number = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${number}${width < TILE_WIDTH ? `.p/${width}` : ''}`
}

const PATH = /^tile\/(entries|\d)\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/(\d{1,3}))?$/

/** Reads a path; undefined when it is not the one way to write a tile's. */
export function parseTilePath(path: string): Tile | undefined {
  const [, level = '', number = '', width] = PATH.exec(path) ?? []
  const tile: Tile = {
    level: level === 'entries' ? level : Number(level),
    index: Number(number.replace(/[x/]/g, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  }
  const { level: found, index } = tile
  const inRange = Number.isSafeInteger(index) && tile.width > 0 && (found === 'entries' || found <= TOP_LEVEL)
  return inRange && tilePath(tile) === path ? tile : undefined
}

/** Complete subtrees of 256^level leaves in a tree: how many hashes the level's tiles hold. */
export function hashesOfLevel(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level)
}

/** Every tile of a tree, bundles of entries first. */
export function* tilesOf(size: number): Generator<Tile> {
  yield* tilesOfLevel('entries', size)
  for (let level = 0; hashesOfLevel(level, size) > 0; level++) yield* tilesOfLevel(level, size)
}

function* tilesOfLevel(level: Tile['level'], size: number): Generator<Tile> {
  const count = level === 'entries' ? size : hashesOfLevel(level, size)
  for (let index = 0; index * TILE_WIDTH < count; index++) {
    yield { level, index, width: Math.min(TILE_WIDTH, count - index * TILE_WIDTH) }
  }
}

/** A bundle of entries: each behind its length in two bytes, big-endian. @throws TapestryError INVALID_ARGUMENT for one over 65,535 bytes. */
export function encodeBundle(entries: readonly Uint8Array[]): Buffer {
  return Buffer.concat(entries.flatMap((entry) => [lengthOf(entry), entry]))
}

function lengthOf({ byteLength }: Uint8Array): Buffer {
  if (byteLength > MAX_ENTRY_BYTES) {
    throw new TapestryError('INVALID_ARGUMENT', `an entry of ${byteLength} bytes does not fit into the log`)
  }
  return Buffer.of(byteLength >> 8, byteLength & 0xff)
}

/** Reads a bundle of exactly `width` entries. @throws TapestryError VERIFICATION_FAILED when it is cut, or holds more. */
export function decodeBundle(bytes: Uint8Array, width: number): Buffer[] {
  const bundle = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: Buffer[] = []
  let at = 0
  while (at + 2 <= bundle.length) {
    const start = at + 2
    at = start + bundle.readUInt16BE(at)
    entries.push(bundle.subarray(start, at))
  }
  if (at !== bundle.length || entries.length !== width) {
    throw new TapestryError('VERIFICATION_FAILED', `a bundle does not hold exactly ${width} entries`)
  }
  return entries
}

/** Answers the hashes of a tile, concatenated: at least `width` of them. */
export type TileReader = (tile: Tile & { readonly level: number }) => Promise<Uint8Array>

/** The proof that the leaf at `index` is in the tree of `size` leaves, read from tiles: some two for each of their levels. */
export async function proveInclusion(index: number, size: number, read: TileReader): Promise<Buffer[]> {
  return hashRanges(inclusionRanges(index, size), size, read)
}

/** The proof that the tree of `second` leaves grew out of the tree of `first`, read from tiles. */
export async function proveConsistency(first: number, second: number, read: TileReader): Promise<Buffer[]> {
  return hashRanges(consistencyRanges(first, second), second, read)
}

async function hashRanges(ranges: readonly LeafRange[], size: number, read: TileReader): Promise<Buffer[]> {
  const tiles = new Map<string, Promise<Buffer[]>>()
  const hashesOf = (level: number, index: number) => {
    const width = Math.min(TILE_WIDTH, hashesOfLevel(level, size) - index * TILE_WIDTH)
    const path = tilePath({ level, index, width })
    const hashes = tiles.get(path) ?? read({ level, index, width }).then((bytes) => wholeTile(bytes, width))
    tiles.set(path, hashes)
    return hashes
  }
  return Promise.all(ranges.map((range) => rangeHash(range, hashesOf)))
}

function wholeTile(bytes: Uint8Array, width: number): Buffer[] {
  if (bytes.byteLength >= width * HASH_BYTES) return splitHashes(bytes.subarray(0, width * HASH_BYTES))
  throw new TapestryError('VERIFICATION_FAILED', `a tile holds ${bytes.byteLength} bytes instead of ${width} hashes`)
}

type HashesOf = (level: number, index: number) => Promise<readonly Buffer[]>

/** Hash of the leaves of a range, whose start is a multiple of the power of two next to its length: complete subtrees, largest first. */
async function rangeHash({ start, end }: LeafRange, hashesOf: HashesOf): Promise<Buffer> {
  const parts: Promise<Buffer>[] = []
  for (let at = start; at < end; ) {
    let level = 0
    while (2 ** (level + 1) <= end - at) level++
    parts.push(subtreeHash(level, at / 2 ** level, hashesOf))
    at += 2 ** level
  }
  return foldRoots(await Promise.all(parts))
}

/** Root of the complete subtree of 2^level leaves: of up to 128 neighbours in one tile. */
async function subtreeHash(level: number, index: number, hashesOf: HashesOf): Promise<Buffer> {
  const tileLevel = Math.floor(level / TILE_HEIGHT)
  const span = 2 ** (level % TILE_HEIGHT)
  const first = index * span
  const hashes = await hashesOf(tileLevel, Math.floor(first / TILE_WIDTH))
  return rootOf(hashes.slice(first % TILE_WIDTH, (first % TILE_WIDTH) + span))
}
