import { closeSync, openSync, writeSync } from 'node:fs'
import { ELEMENT_BYTES, mergeError } from './merge-layout.ts'

/** A vector in an unfinished file, of which several threads write different stretches. Blocking. */
export class Target {
  readonly #path: string
  readonly #file: number
  readonly #begin: number

  /** @param begin position in the file of element 0 @throws TapestryError NOT_FOUND */
  constructor(path: string, begin: number) {
    try {
      this.#file = openSync(path, 'r+')
    } catch (cause) {
      throw mergeError(path, cause)
    }
    this.#path = path
    this.#begin = begin
  }

  /** Writes elements from number `first` on. @throws TapestryError DISK_FULL */
  write(first: number, bytes: Uint8Array): void {
    const position = this.#begin + first * ELEMENT_BYTES
    let written = 0
    try {
      while (written < bytes.byteLength) {
        written += writeSync(this.#file, bytes, written, bytes.byteLength - written, position + written)
      }
    } catch (cause) {
      throw mergeError(this.#path, cause)
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}
