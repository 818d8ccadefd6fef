import { closeSync, openSync, readSync } from 'node:fs'
import { TapestryError } from '../core/error.ts'
import { mergeError } from './merge-layout.ts'

/** A file that is read at any position, blocking: for worker threads only. */
export class SourceFile {
  readonly path: string
  readonly #file: number

  /** @throws TapestryError NOT_FOUND */
  constructor(path: string) {
    try {
      this.#file = openSync(path, 'r')
    } catch (cause) {
      throw mergeError(path, cause)
    }
    this.path = path
  }

  /** Fills `target` from a position on. @throws TapestryError DATA_INVALID when the file ends before */
  read(target: Uint8Array, position: number): void {
    let filled = 0
    while (filled < target.byteLength) {
      const count = readSync(this.#file, target, filled, target.byteLength - filled, position + filled)
      if (count === 0) throw new TapestryError('DATA_INVALID', `${this.path} was cut short while it was read`)
      filled += count
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}
