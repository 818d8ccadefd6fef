import { BlockLayout, type BlockShape, eachTile, F64_BYTES, padded, sumCount, sumsOf } from './block-layout.ts'
import { createArena } from './kernels/arena.ts'
import { type Arena, ROW_BYTES, writeRow } from './kernels/kernels.ts'
import { ELEMENT_BYTES } from './merge-layout.ts'
import type { CombineRule } from './merge-task.ts'
import type { OptimizerStep } from './optimizer-step.ts'
import type { Target } from './target.ts'
import type { TensorReader } from './tensor-reader.ts'

type Parts = {
  /** File 0 is the base, files 1 to `inputs` are the deltas. */
  readonly reader: TensorReader
  readonly inputs: number
  readonly rule: CombineRule
  readonly optimizer: OptimizerStep | undefined
  readonly shape: BlockShape
  readonly target: Target
}

/** Folds stretches of a model: reads them from every input, merges, writes, and sums up. */
export class BlockFolder {
  readonly #parts: Parts
  readonly #at: BlockLayout
  readonly #arena: Arena
  readonly #bytes: Uint8Array
  readonly #sums: Float64Array

  /** @throws TapestryError RESOURCE_EXHAUSTED */
  constructor(parts: Parts) {
    this.#parts = parts
    this.#at = new BlockLayout(parts.shape, parts.inputs, parts.rule.kind !== 'weighted')
    this.#arena = createArena(this.#at.end)
    this.#bytes = new Uint8Array(this.#arena.buffer)
    this.#sums = new Float64Array(this.#arena.buffer, this.#at.sums, sumCount(parts.inputs))
  }

  /**
   * Folds elements `first` to `end`, of which `first` is a multiple of the tile.
   * @returns sums of squares of the merged delta and the merged model, then for each input its sum
   *   of squares and its dot product with the merged delta. Valid until the next call.
   */
  fold(first: number, end: number, onBlock: (elements: number) => void): Float64Array {
    this.#sums.fill(0)
    for (let at = first; at < end; at += this.#parts.shape.elements) {
      const count = Math.min(this.#parts.shape.elements, end - at)
      this.#foldBlock(at, count)
      onBlock(count)
    }
    return this.#sums
  }

  #foldBlock(first: number, count: number): void {
    const { inputs, rule, optimizer, shape } = this.#parts
    const acc = new Float64Array(this.#arena.buffer, this.#at.acc, padded(count))
    if (rule.kind === 'weighted') this.#weigh(acc, rule.coefficients, first, count)
    else this.#order(acc, rule, first, count)
    optimizer?.apply(first, acc.subarray(0, count))
    this.#finish(first, count)
    this.#eachGroup((from, held) => {
      if (inputs > shape.group) this.#readGroup(from, held, first, count)
      this.#compare(from, held, count)
    })
  }

  #weigh(acc: Float64Array, coefficients: readonly number[], first: number, count: number): void {
    acc.fill(0)
    this.#eachGroup((from, held) => {
      this.#readGroup(from, held, first, count)
      eachTile(count, (tile, n) => {
        this.#pointTo(held, tile, (i) => coefficients[from + i]!)
        this.#arena.kernels.accumulateF32(this.#at.acc + tile * F64_BYTES, this.#at.table, held, n)
      })
    })
  }

  /** Order statistics of all deltas at once: of a whole block while they are few, else of as many columns as fit. */
  #order(acc: Float64Array, rule: CombineRule, first: number, count: number): void {
    const { inputs, shape } = this.#parts
    const { delta, columns } = this.#at
    if (inputs <= shape.group) {
      this.#readGroup(0, inputs, first, count)
      eachTile(count, (tile, n) => {
        this.#pointTo(inputs, tile, () => 0)
        this.#select(rule, delta + tile * ELEMENT_BYTES, n)
      })
    } else {
      for (let at = 0; at < count; at += columns) {
        const n = Math.min(columns, count - at)
        this.#readColumns(first + at, n)
        this.#select(rule, delta + at * ELEMENT_BYTES, padded(n))
      }
    }
    acc.set(new Float32Array(this.#arena.buffer, delta, acc.length))
  }

  #select(rule: CombineRule, out: number, n: number): void {
    const { kernels } = this.#arena
    const { table, scratch } = this.#at
    const { inputs } = this.#parts
    if (rule.kind === 'trimmed') kernels.trimmedMean(out, table, inputs, rule.trim, n, scratch)
    else kernels.median(out, table, inputs, n, scratch)
  }

  #readColumns(first: number, count: number): void {
    for (let i = 0; i < this.#parts.inputs; i += 1) {
      const at = this.#at.columnsAt + i * this.#at.columns * ELEMENT_BYTES
      this.#read(1 + i, first, count, at)
      writeRow(this.#arena.buffer, this.#at.table, i, { weight: 0, at })
    }
  }

  #eachGroup(visit: (from: number, held: number) => void): void {
    const { inputs, shape } = this.#parts
    for (let from = 0; from < inputs; from += shape.group) visit(from, Math.min(shape.group, inputs - from))
  }

  #readGroup(from: number, held: number, first: number, count: number): void {
    for (let i = 0; i < held; i += 1) this.#read(1 + from + i, first, count, this.#inputAt(i))
  }

  /** Names the inputs that are held, from element `tile` of the block on, to the next kernel. */
  #pointTo(held: number, tile: number, weightOf: (i: number) => number): void {
    for (let i = 0; i < held; i += 1) {
      const row = this.#at.table + i * ROW_BYTES
      new Float64Array(this.#arena.buffer, row, 1)[0] = weightOf(i)
      new Uint32Array(this.#arena.buffer, row + F64_BYTES, 1)[0] = this.#inputAt(i) + tile * ELEMENT_BYTES
    }
  }

  #inputAt(i: number): number {
    return this.#at.inputs + i * this.#at.inputStride
  }

  #read(file: number, first: number, count: number, offset: number): void {
    const end = offset + count * ELEMENT_BYTES
    this.#parts.reader.read(file, first, this.#bytes.subarray(offset, end))
    this.#bytes.fill(0, end, offset + padded(count) * ELEMENT_BYTES)
  }

  #finish(first: number, count: number): void {
    const { out, delta, base, acc, sums } = this.#at
    this.#read(0, first, count, base)
    eachTile(count, (tile, n) => {
      const skip = tile * ELEMENT_BYTES
      this.#arena.kernels.finish(out + skip, delta + skip, base + skip, acc + tile * F64_BYTES, n, sums)
    })
    this.#parts.target.write(first, this.#bytes.subarray(out, out + count * ELEMENT_BYTES))
  }

  #compare(from: number, held: number, count: number): void {
    for (let i = 0; i < held; i += 1) {
      const sums = this.#at.sums + sumsOf(from + i) * F64_BYTES
      eachTile(count, (tile, n) => {
        const skip = tile * ELEMENT_BYTES
        this.#arena.kernels.compare(this.#inputAt(i) + skip, this.#at.delta + skip, n, sums)
      })
    }
  }
}
