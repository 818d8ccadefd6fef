import { closeSync, openSync, writeSync } from 'node:fs'
import { ELEMENT_BYTES, mergeError } from './merge-layout.ts'

/** An unfinished file of a vector: its elements from number `first` on, which begin at `position`, up to the next file's. */
export type TargetFile = { readonly path: string; readonly first: number; readonly position: number }

/** A vector in unfinished files, of which several threads write different stretches. Blocking. */
export class Target {
  readonly #files: readonly TargetFile[]
  readonly #open: number[] = []

  /** @param files in the order of their elements @throws TapestryError NOT_FOUND */
  constructor(files: readonly TargetFile[]) {
    this.#files = files
    for (const { path } of files) {
      try {
        this.#open.push(openSync(path, 'r+'))
      } catch (cause) {
        this.close()
        throw mergeError(path, cause)
      }
    }
  }

  /** Writes elements from number `first` on. @throws TapestryError DISK_FULL */
  write(first: number, bytes: Uint8Array): void {
    const end = first + bytes.byteLength / ELEMENT_BYTES
    for (const [index, file] of this.#files.entries()) {
      const from = Math.max(first, file.first)
      const to = Math.min(end, this.#files[index + 1]?.first ?? end)
      if (from >= to) continue
      const part = bytes.subarray((from - first) * ELEMENT_BYTES, (to - first) * ELEMENT_BYTES)
      this.#writeTo(index, file.position + (from - file.first) * ELEMENT_BYTES, part)
    }
  }

  #writeTo(index: number, position: number, bytes: Uint8Array): void {
    let written = 0
    try {
      while (written < bytes.byteLength) {
        written += writeSync(this.#open[index]!, bytes, written, bytes.byteLength - written, position + written)
      }
    } catch (cause) {
      throw mergeError(this.#files[index]!.path, cause)
    }
  }

  close(): void {
    for (const file of this.#open.splice(0)) closeSync(file)
  }
}
