import { padded, TILE } from './block-layout.ts'
import { createArena } from './kernels/arena.ts'
import type { Arena } from './kernels/kernels.ts'
import { ELEMENT_BYTES } from './merge-layout.ts'
import { type CompareTask, type Span, takeSpans } from './merge-task.ts'
import { TensorReader } from './tensor-reader.ts'

/** Bytes that the tiles of all deltas take together, while there are few: larger reads are no faster. */
const BLOCK_BYTES = 8 * 2 ** 20
const MAX_TILES = 16

/** Number of sums that a comparison keeps: of pairs, those with i <= j, row after row. */
export function dotCount(inputs: number, pairs: CompareTask['pairs']): number {
  return pairs === 'all' ? (inputs * (inputs + 1)) / 2 : inputs
}

/**
 * Takes spans of a comparison until none is left. Blocks the thread. Every tile's dot products are
 * taken by themselves and added in the order of tiles: no result depends on who takes which span.
 * @throws TapestryError NOT_FOUND, DATA_INVALID, RESOURCE_EXHAUSTED
 */
export function compareSpans(task: CompareTask, onBlock: (elements: number) => void): void {
  const reader = new TensorReader(task.layouts)
  try {
    const comparer = new Comparer(task, reader)
    takeSpans(task, dotCount(task.layouts.length, task.pairs), (span) => comparer.compare(span, onBlock))
  } finally {
    reader.close()
  }
}

class Comparer {
  readonly #task: CompareTask
  readonly #reader: TensorReader
  readonly #arena: Arena
  readonly #bytes: Uint8Array
  readonly #inputs: number
  /** Elements of each delta that are held at once: a multiple of the tile. */
  readonly #block: number
  readonly #sums: Float64Array

  constructor(task: CompareTask, reader: TensorReader) {
    this.#task = task
    this.#reader = reader
    this.#inputs = task.layouts.length
    const held = task.pairs === 'all' ? this.#inputs : 1
    const tiles = Math.floor(BLOCK_BYTES / (held * TILE * ELEMENT_BYTES))
    // What is skipped between tiles must not be read.
    this.#block = TILE * (task.every > 1 ? 1 : Math.max(1, Math.min(MAX_TILES, tiles)))
    this.#arena = createArena(held * this.#block * ELEMENT_BYTES)
    this.#bytes = new Uint8Array(this.#arena.buffer)
    this.#sums = new Float64Array(dotCount(this.#inputs, task.pairs))
  }

  compare({ first, end }: Span, onBlock: (elements: number) => void): Float64Array {
    this.#sums.fill(0)
    const step = this.#block * this.#task.every
    const begin = this.#task.every === 1 ? first : Math.ceil(first / step) * step
    for (let at = begin; at < end; at += step) {
      const count = Math.min(this.#block, end - at)
      if (this.#task.pairs === 'all') this.#comparePairs(at, count)
      else this.#compareOwn(at, count)
    }
    onBlock(end - first)
    return this.#sums
  }

  #comparePairs(first: number, count: number): void {
    for (let i = 0; i < this.#inputs; i += 1) this.#read(i, first, count, this.#inputAt(i))
    for (let tile = 0; tile < count; tile += TILE) {
      const n = padded(Math.min(TILE, count - tile))
      let pair = 0
      for (let i = 0; i < this.#inputs; i += 1) {
        for (let j = i; j < this.#inputs; j += 1, pair += 1) {
          const skip = tile * ELEMENT_BYTES
          this.#sums[pair]! += this.#arena.kernels.dot(this.#inputAt(i) + skip, this.#inputAt(j) + skip, n)
        }
      }
    }
  }

  #compareOwn(first: number, count: number): void {
    for (let i = 0; i < this.#inputs; i += 1) {
      this.#read(i, first, count, 0)
      for (let tile = 0; tile < count; tile += TILE) {
        const n = padded(Math.min(TILE, count - tile))
        this.#sums[i]! += this.#arena.kernels.sumOfSquares(tile * ELEMENT_BYTES, n)
      }
    }
  }

  #inputAt(i: number): number {
    return i * this.#block * ELEMENT_BYTES
  }

  #read(file: number, first: number, count: number, offset: number): void {
    const end = offset + count * ELEMENT_BYTES
    this.#reader.read(file, first, this.#bytes.subarray(offset, end))
    this.#bytes.fill(0, end, offset + padded(count) * ELEMENT_BYTES)
  }
}
