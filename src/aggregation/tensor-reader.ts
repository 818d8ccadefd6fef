import { DenseDecoder } from './dense-decoder.ts'
import { ELEMENT_BYTES, type Layout, type Run } from './merge-layout.ts'
import { SourceFile } from './source-file.ts'
import { SparseReader } from './sparse-reader.ts'

/** Files beyond this many are opened for each read, so that a merge of thousands fits any descriptor limit. */
const KEPT_OPEN = 256

/** Reads stretches of elements as f32 from several files at once, decoding on the way, blocking: for worker threads only. */
export class TensorReader {
  readonly #layouts: readonly Layout[]
  /** By path. */
  readonly #open = new Map<string, SourceFile>()
  readonly #sparse = new SparseReader()
  #dense: DenseDecoder | undefined

  /** @throws TapestryError NOT_FOUND */
  constructor(layouts: readonly Layout[]) {
    this.#layouts = layouts
    try {
      const paths = new Set(layouts.flatMap(({ files }) => files))
      for (const path of [...paths].slice(0, KEPT_OPEN)) this.#open.set(path, new SourceFile(path))
    } catch (cause) {
      this.close()
      throw cause
    }
  }

  /**
   * Fills `target`, which begins on a boundary of 4 bytes, with the elements from number `first` of layout `index`.
   * @throws TapestryError DATA_INVALID when the file ends before them or its indices do not ascend; NOT_FOUND
   */
  read(index: number, first: number, target: Uint8Array): void {
    const layout = this.#layouts[index]
    if (layout === undefined) throw new RangeError(`no layout ${index}`)
    for (let at = runAt(layout.runs, first), filled = 0; filled < target.byteLength; at += 1) {
      const run = layout.runs[at]
      if (run === undefined) throw new RangeError('elements beyond the end of the model')
      const from = first - run.first + filled / ELEMENT_BYTES
      const length = Math.min((run.count - from) * ELEMENT_BYTES, target.byteLength - filled)
      this.#readFrom(layout.files[run.file]!, (source) =>
        this.#readRun(index, source, at, from, target.subarray(filled, filled + length)),
      )
      filled += length
    }
  }

  #readFrom(path: string, read: (source: SourceFile) => void): void {
    const kept = this.#open.get(path)
    const source = kept ?? new SourceFile(path)
    try {
      read(source)
    } finally {
      if (kept === undefined) source.close()
    }
  }

  /** Elements of one run, from its number `from` on. */
  #readRun(index: number, source: SourceFile, at: number, from: number, target: Uint8Array): void {
    const layout = this.#layouts[index]!
    if (layout.codec === 'topk') this.#sparse.read(index, source, layout.runs[at]!, from, target)
    else if (layout.codec === 'int8') this.#decoder().readInt8(source, layout.runs[at]!, layout.block, from, target)
    else if (layout.codec === 'bf16') this.#decoder().readBf16(source, layout.runs[at]!, from, target)
    else source.read(target, layout.runs[at]!.position + from * ELEMENT_BYTES)
  }

  /** Made when it is first needed: merges of F32 alone do without its memory. */
  #decoder(): DenseDecoder {
    this.#dense ??= new DenseDecoder()
    return this.#dense
  }

  close(): void {
    for (const file of this.#open.values()) file.close()
    this.#open.clear()
  }
}

/** Index of the last run that begins at or before element `first`. */
function runAt(runs: readonly Run[], first: number): number {
  let low = 0
  let high = runs.length - 1
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (runs[middle]!.first <= first) low = middle
    else high = middle - 1
  }
  return low
}
