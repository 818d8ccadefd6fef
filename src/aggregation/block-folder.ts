import { writeSync } from 'node:fs'
import type { Arena } from './kernels/kernels.ts'
import { LANES, ROW_BYTES } from './kernels/kernels.ts'
import { ELEMENT_BYTES, mergeError } from './merge-layout.ts'
import type { TensorReader } from './tensor-reader.ts'

/**
 * Elements that are folded, and whose sums are taken, at a time. Statistics add up tile by tile,
 * so this number is part of their arithmetic; the merged tensors do not depend on it.
 */
export const TILE = 2048

/** Sums for the merged delta and the merged model, before those of the inputs. */
const OWN_SUMS = 2
const F64_BYTES = 8

/** How a merge is cut to bound its memory; neither number changes any result. */
export type BlockShape = {
  /** Elements of one input read at once: a multiple of {@link TILE}. */
  readonly elements: number
  /** Inputs held in memory at once. */
  readonly group: number
}

export type Target = { readonly path: string; readonly file: number; readonly dataBegin: number }

/** Number of f64 sums that a fold of `inputs` deltas keeps: see {@link BlockFolder.fold}. */
export function sumCount(inputs: number): number {
  return OWN_SUMS + 2 * inputs
}

/** Bytes of linear memory that a fold takes. */
export function arenaBytes(shape: BlockShape, inputs: number): number {
  return new Offsets(shape, inputs).end
}

/** Where everything lies in the linear memory. */
class Offsets {
  readonly sums: number
  readonly table: number
  readonly acc: number
  readonly base: number
  readonly delta: number
  readonly out: number
  readonly inputs: number
  readonly inputStride: number
  readonly end: number

  constructor({ elements, group }: BlockShape, inputs: number) {
    const held = Math.min(group, inputs)
    const block = elements * ELEMENT_BYTES
    // Inputs a power of two apart would compete for the same few sets of the cache.
    this.inputStride = block + 3 * 64
    this.sums = 1024
    this.table = this.sums + Math.ceil((sumCount(inputs) * F64_BYTES) / 64) * 64
    this.acc = this.table + Math.ceil((held * ROW_BYTES) / 64) * 64
    this.base = this.acc + elements * F64_BYTES
    this.delta = this.base + block
    this.out = this.delta + block
    this.inputs = this.out + block
    this.end = this.inputs + held * this.inputStride
  }
}

/** Folds stretches of a model: reads them from every input, merges, writes, and sums up. */
export class BlockFolder {
  readonly #arena: Arena
  readonly #reader: TensorReader
  readonly #weights: readonly number[]
  readonly #shape: BlockShape
  readonly #target: Target
  readonly #at: Offsets
  readonly #bytes: Uint8Array
  readonly #sums: Float64Array

  /** @param reader file 0 is the base, file 1 + i is the delta of `weights[i]` */
  constructor(arena: Arena, reader: TensorReader, weights: readonly number[], shape: BlockShape, target: Target) {
    this.#arena = arena
    this.#reader = reader
    this.#weights = weights
    this.#shape = shape
    this.#target = target
    this.#at = new Offsets(shape, weights.length)
    this.#bytes = new Uint8Array(arena.buffer)
    this.#sums = new Float64Array(arena.buffer, this.#at.sums, sumCount(weights.length))
  }

  /**
   * Folds elements `first` to `end`, of which `first` is a multiple of {@link TILE}.
   * @returns sums of squares of the merged delta and the merged model, then for each input its sum
   *   of squares and its dot product with the merged delta. Valid until the next call.
   */
  fold(first: number, end: number, onBlock: (elements: number) => void): Float64Array {
    this.#sums.fill(0)
    for (let at = first; at < end; at += this.#shape.elements) {
      const count = Math.min(this.#shape.elements, end - at)
      this.#foldBlock(at, count)
      onBlock(count)
    }
    return this.#sums
  }

  #foldBlock(first: number, count: number): void {
    new Float64Array(this.#arena.buffer, this.#at.acc, padded(count)).fill(0)
    this.#eachGroup((from, held) => {
      this.#readGroup(from, held, first, count)
      this.#accumulate(held, count)
    })
    this.#finish(first, count)
    const whole = this.#weights.length <= this.#shape.group
    this.#eachGroup((from, held) => {
      if (!whole) this.#readGroup(from, held, first, count)
      this.#compare(from, held, count)
    })
  }

  #eachGroup(visit: (from: number, held: number) => void): void {
    const inputs = this.#weights.length
    for (let from = 0; from < inputs; from += this.#shape.group) {
      visit(from, Math.min(this.#shape.group, inputs - from))
    }
  }

  #readGroup(from: number, held: number, first: number, count: number): void {
    for (let i = 0; i < held; i += 1) {
      this.#read(1 + from + i, first, count, this.#inputAt(i))
      const row = this.#at.table + i * ROW_BYTES
      new Float64Array(this.#arena.buffer, row, 1)[0] = this.#weights[from + i]!
    }
  }

  #inputAt(i: number): number {
    return this.#at.inputs + i * this.#at.inputStride
  }

  #read(file: number, first: number, count: number, offset: number): void {
    const end = offset + count * ELEMENT_BYTES
    this.#reader.read(file, first, this.#bytes.subarray(offset, end))
    this.#bytes.fill(0, end, offset + padded(count) * ELEMENT_BYTES)
  }

  #accumulate(held: number, count: number): void {
    const { acc, table } = this.#at
    eachTile(count, (tile, n) => {
      for (let i = 0; i < held; i += 1) {
        const pointer = this.#inputAt(i) + tile * ELEMENT_BYTES
        new Uint32Array(this.#arena.buffer, table + i * ROW_BYTES + F64_BYTES, 1)[0] = pointer
      }
      this.#arena.kernels.accumulateF32(acc + tile * F64_BYTES, table, held, n)
    })
  }

  #finish(first: number, count: number): void {
    const { out, delta, base, acc, sums } = this.#at
    this.#read(0, first, count, base)
    eachTile(count, (tile, n) => {
      const skip = tile * ELEMENT_BYTES
      this.#arena.kernels.finish(out + skip, delta + skip, base + skip, acc + tile * F64_BYTES, n, sums)
    })
    this.#write(first, count)
  }

  #write(first: number, count: number): void {
    const { path, file, dataBegin } = this.#target
    const bytes = this.#bytes.subarray(this.#at.out, this.#at.out + count * ELEMENT_BYTES)
    let written = 0
    try {
      while (written < bytes.byteLength) {
        const position = dataBegin + first * ELEMENT_BYTES + written
        written += writeSync(file, bytes, written, bytes.byteLength - written, position)
      }
    } catch (cause) {
      throw mergeError(path, cause)
    }
  }

  #compare(from: number, held: number, count: number): void {
    for (let i = 0; i < held; i += 1) {
      const sums = this.#at.sums + (OWN_SUMS + 2 * (from + i)) * F64_BYTES
      eachTile(count, (tile, n) => {
        const skip = tile * ELEMENT_BYTES
        this.#arena.kernels.compare(this.#inputAt(i) + skip, this.#at.delta + skip, n, sums)
      })
    }
  }
}

function padded(count: number): number {
  return Math.ceil(count / LANES) * LANES
}

function eachTile(count: number, visit: (tile: number, n: number) => void): void {
  for (let tile = 0; tile < count; tile += TILE) visit(tile, padded(Math.min(TILE, count - tile)))
}
