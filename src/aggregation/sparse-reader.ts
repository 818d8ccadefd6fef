import { TapestryError } from '../core/error.ts'
import { ELEMENT_BYTES, type SparseRun } from './merge-layout.ts'
import type { SourceFile } from './source-file.ts'

/** Entries that are read at once. */
const CHUNK = 4096

/** The first entry at or after an element of a run. */
type Place = { readonly run: SparseRun; readonly element: number; readonly entry: number }

/**
 * Reads stretches of tensors of which a file keeps some values, by ascending index; the others are 0.
 * Blocking. Holds one chunk of entries, and remembers where the last stretch of each file lies: merges
 * read on from there, or read it again, and only other places are searched for.
 */
export class SparseReader {
  readonly #indices = new Uint32Array(CHUNK)
  readonly #values = new Float32Array(CHUNK)
  readonly #places = new Map<number, readonly Place[]>()

  /**
   * @param file number of the file among those of the merge @param from first element, counted in the run
   * @param target f32, as many as are read
   * @throws TapestryError DATA_INVALID when indices do not ascend
   */
  read(file: number, source: SourceFile, run: SparseRun, from: number, target: Uint8Array): void {
    const count = target.byteLength / ELEMENT_BYTES
    const out = new Float32Array(target.buffer, target.byteOffset, count).fill(0)
    const begin = this.#find(file, source, run, from)
    let entry = begin
    for (let last = from - 1; entry < run.kept; ) {
      const indices = this.#readIndices(source, run, entry)
      const used = stretchOf(source, indices, last, from + count)
      const values = this.#readValues(source, run, entry, used)
      for (let j = 0; j < used; j += 1) out[indices[j]! - from] = values[j]!
      entry += used
      if (used < indices.length) break
      last = indices[used - 1]!
    }
    this.#places.set(file, [
      { run, element: from, entry: begin },
      { run, element: from + count, entry },
    ])
  }

  #find(file: number, source: SourceFile, run: SparseRun, element: number): number {
    if (element === 0) return 0
    const known = this.#places.get(file)?.find((place) => place.run === run && place.element === element)
    return known?.entry ?? this.#search(source, run, element)
  }

  /** Binary search in the file. */
  #search(source: SourceFile, run: SparseRun, element: number): number {
    const probe = this.#indices.subarray(0, 1)
    let low = 0
    let high = run.kept
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      source.read(bytesOf(probe), run.indices + middle * ELEMENT_BYTES)
      if (probe[0]! < element) low = middle + 1
      else high = middle
    }
    return low
  }

  #readIndices(source: SourceFile, { indices, kept }: SparseRun, entry: number): Uint32Array {
    const read = this.#indices.subarray(0, Math.min(CHUNK, kept - entry))
    source.read(bytesOf(read), indices + entry * ELEMENT_BYTES)
    return read
  }

  #readValues(source: SourceFile, { position }: SparseRun, entry: number, count: number): Float32Array {
    const read = this.#values.subarray(0, count)
    source.read(bytesOf(read), position + entry * ELEMENT_BYTES)
    return read
  }
}

/** How many of the indices lie before `end`. */
function stretchOf(source: SourceFile, indices: Uint32Array, before: number, end: number): number {
  let last = before
  for (let j = 0; j < indices.length; j += 1) {
    const index = indices[j]!
    if (index >= end) return j
    if (index <= last) throw new TapestryError('DATA_INVALID', `${source.path}: the indices do not ascend`)
    last = index
  }
  return indices.length
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
