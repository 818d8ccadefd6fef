import { LANES, ROW_BYTES } from './kernels/kernels.ts'
import { ELEMENT_BYTES } from './merge-layout.ts'

/**
 * Elements that are folded, and whose sums are taken, at a time. Statistics add up tile by tile,
 * so this number is part of their arithmetic; the merged tensors do not depend on it.
 */
export const TILE = 2048

/** Sums for the merged delta and the merged model, before those of the inputs. */
const OWN_SUMS = 2
export const F64_BYTES = 8
/** Of a worker's memory, what order statistics of very many deltas may take: they need all of them at once. */
const COLUMN_BYTES = 32 * 2 ** 20
/** What a kernel of order statistics needs for each delta. */
const SCRATCH_BYTES = 16

/** How a merge is cut to bound its memory; neither number changes any result. */
export type BlockShape = {
  /** Elements of one input read at once: a multiple of {@link TILE}. */
  readonly elements: number
  /** Inputs held in memory at once. */
  readonly group: number
}

/** Number of f64 sums that a fold of `inputs` deltas keeps. */
export function sumCount(inputs: number): number {
  return OWN_SUMS + 2 * inputs
}

/** Place among the sums of those of input `index`: its square, then its product with the merged delta. */
export function sumsOf(index: number): number {
  return OWN_SUMS + 2 * index
}

/** Where everything lies in a worker's linear memory. All in bytes. */
export class BlockLayout {
  readonly sums: number
  readonly table: number
  readonly scratch: number
  readonly acc: number
  readonly base: number
  readonly delta: number
  readonly out: number
  readonly inputs: number
  readonly inputStride: number
  /** Elements of every delta that are held at once for order statistics of more deltas than a group. */
  readonly columns: number
  readonly columnsAt: number
  readonly end: number

  constructor({ elements, group }: BlockShape, inputs: number, ordered: boolean) {
    const held = Math.min(group, inputs)
    const block = elements * ELEMENT_BYTES
    // Inputs a power of two apart would compete for the same few sets of the cache.
    this.inputStride = block + 3 * 64
    this.sums = 1024
    this.table = this.sums + lines(sumCount(inputs) * F64_BYTES)
    this.scratch = this.table + lines((ordered ? inputs : held) * ROW_BYTES)
    this.acc = this.scratch + (ordered ? lines(inputs * SCRATCH_BYTES) : 0)
    this.base = this.acc + elements * F64_BYTES
    this.delta = this.base + block
    this.out = this.delta + block
    this.inputs = this.out + block
    this.columnsAt = this.inputs + held * this.inputStride
    this.columns = ordered && inputs > group ? columnsFor(inputs, elements) : 0
    this.end = this.columnsAt + this.columns * inputs * ELEMENT_BYTES
  }
}

function columnsFor(inputs: number, elements: number): number {
  const most = Math.floor(COLUMN_BYTES / (inputs * ELEMENT_BYTES * LANES)) * LANES
  return Math.max(LANES, Math.min(elements, most))
}

/** Rounded up to whole cache lines. */
function lines(bytes: number): number {
  return Math.ceil(bytes / 64) * 64
}

/** `count` rounded up to what kernels take. */
export function padded(count: number): number {
  return Math.ceil(count / LANES) * LANES
}

/** Visits the tiles of a block: where each begins, and its length rounded up to what kernels take. */
export function eachTile(count: number, visit: (tile: number, n: number) => void): void {
  for (let tile = 0; tile < count; tile += TILE) visit(tile, padded(Math.min(TILE, count - tile)))
}
