import { closeSync, openSync, readSync } from 'node:fs'
import { TapestryError } from '../core/error.ts'
import { ELEMENT_BYTES, type Layout, mergeError, type Run } from './merge-layout.ts'

/** Files beyond this many are opened for each read, so that a merge of thousands fits any descriptor limit. */
const KEPT_OPEN = 256

/** Reads stretches of elements from several files at once, blocking: for worker threads only. */
export class TensorReader {
  readonly #layouts: readonly Layout[]
  readonly #open: number[] = []

  /** @throws TapestryError NOT_FOUND */
  constructor(layouts: readonly Layout[]) {
    this.#layouts = layouts
    try {
      for (const { path } of layouts.slice(0, KEPT_OPEN)) this.#open.push(openFile(path))
    } catch (cause) {
      this.close()
      throw cause
    }
  }

  /**
   * Fills `target` with the bytes of the elements from number `first` of file `index`.
   * @throws TapestryError DATA_INVALID when the file ends before them; NOT_FOUND
   */
  read(index: number, first: number, target: Uint8Array): void {
    const layout = this.#layouts[index]
    if (layout === undefined) throw new RangeError(`no file ${index}`)
    const kept = this.#open[index]
    const file = kept ?? openFile(layout.path)
    try {
      readElements(layout, file, first, target)
    } finally {
      if (kept === undefined) closeSync(file)
    }
  }

  close(): void {
    for (const file of this.#open.splice(0)) closeSync(file)
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, 'r')
  } catch (cause) {
    throw mergeError(path, cause)
  }
}

function readElements({ path, runs }: Layout, file: number, first: number, target: Uint8Array): void {
  let filled = 0
  for (let at = runAt(runs, first); filled < target.byteLength; at += 1) {
    const run = runs[at]
    if (run === undefined) throw new RangeError('elements beyond the end of the model')
    const skipped = (first - run.first) * ELEMENT_BYTES + filled
    const length = Math.min(run.count * ELEMENT_BYTES - skipped, target.byteLength - filled)
    readBytes(path, file, target.subarray(filled, filled + length), run.position + skipped)
    filled += length
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

function readBytes(path: string, file: number, target: Uint8Array, position: number): void {
  let filled = 0
  while (filled < target.byteLength) {
    const count = readSync(file, target, filled, target.byteLength - filled, position + filled)
    if (count === 0) throw new TapestryError('DATA_INVALID', `${path} was cut short while it was read`)
    filled += count
  }
}
