import type { Codec } from '../../core/codec.ts'
import { accept, reject, type Verdict } from '../../core/rejection.ts'
import type { SafetensorsHeader, TensorEntry } from '../safetensors-header.ts'
import { DTYPE_BYTES, type TensorSpec } from '../tensor.ts'
import { type TensorCheck, TensorChecks } from './tensor-check.ts'

/** Bytes that are judged at once: a multiple of every element size. */
const BLOCK_BYTES = 2 ** 16

type Current = { readonly check: TensorCheck; readonly width: number; first: number; left: number }

/**
 * Judges the tensor data of an encoded update as they arrive, in one pass and however they are cut.
 * Besides a block it holds the scales of int8: an eighth of a byte for each element at most.
 */
export class UpdateScan {
  readonly #checks: TensorChecks
  readonly #tensors: Iterator<TensorEntry>
  readonly #block = new Uint8Array(BLOCK_BYTES)
  #filled = 0
  #current: Current | undefined
  #squares = 0

  /** @param header accepted by `checkEncodedHeader` for the same codec and model */
  constructor(header: SafetensorsHeader, codec: Codec, model: readonly TensorSpec[]) {
    this.#checks = new TensorChecks(codec, model)
    this.#tensors = header.tensors.values()
    this.#current = this.#next()
  }

  /**
   * Takes the bytes that follow those before; the first follow the header.
   * @returns rejection NON_FINITE or MALFORMED for what no encoder makes; TRUNCATED never
   */
  push(bytes: Uint8Array): Verdict<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      const current = this.#current
      if (current === undefined) return reject('MALFORMED', 'bytes follow the last tensor')
      const count = Math.min(BLOCK_BYTES - this.#filled, current.left - this.#filled, bytes.byteLength - at)
      this.#block.set(bytes.subarray(at, at + count), this.#filled)
      this.#filled += count
      at += count
      if (this.#filled < Math.min(BLOCK_BYTES, current.left)) continue
      const verdict = this.#judge(current)
      if (!verdict.ok) return verdict
    }
    return accept(undefined)
  }

  /** The Euclidean norm of what all tensors decode to. @returns rejection TRUNCATED when bytes are missing */
  end(): Verdict<number> {
    return this.#current === undefined
      ? accept(Math.sqrt(this.#squares))
      : reject('TRUNCATED', 'the file ends inside its data')
  }

  #judge(current: Current): Verdict<void> {
    const verdict = current.check(this.#block.subarray(0, this.#filled), current.first)
    if (!verdict.ok) return verdict
    this.#squares += verdict.value
    current.first += this.#filled / current.width
    current.left -= this.#filled
    this.#filled = 0
    if (current.left === 0) this.#current = this.#next()
    return accept(undefined)
  }

  /** The next tensor that has bytes. */
  #next(): Current | undefined {
    for (let next = this.#tensors.next(); next.done !== true; next = this.#tensors.next()) {
      const entry = next.value
      const check = this.#checks.of(entry)
      const left = entry.end - entry.begin
      if (left > 0) return { check, width: DTYPE_BYTES[entry.dtype], first: 0, left }
    }
    return undefined
  }
}
