import { padded } from './block-layout.ts'
import { createArena } from './kernels/arena.ts'
import type { Arena } from './kernels/kernels.ts'
import { ELEMENT_BYTES, type Run, type SteppedRun } from './merge-layout.ts'
import type { SourceFile } from './source-file.ts'

/** Elements that are decoded at once: a multiple of every block of int8, and small enough for a second-level cache. */
const CHUNK = 32_768
/** One for each block of the smallest size, and one that only padding touches. */
const MOST_SCALES = CHUNK / 32 + 1
const WORDS_AT = 64
const SCALES_AT = WORDS_AT + CHUNK * 2
const VALUES_AT = SCALES_AT + MOST_SCALES * ELEMENT_BYTES + 60

/** Reads stretches of tensors that keep a value for every element, as f32, in memory of its own. Blocking. */
export class DenseDecoder {
  readonly #arena: Arena = createArena(VALUES_AT + CHUNK * ELEMENT_BYTES)
  readonly #bytes = new Uint8Array(this.#arena.buffer)

  /** Elements of bfloat16 from number `from` of the run on. @param target f32, as many as are read */
  readBf16(source: SourceFile, { position }: Run, from: number, target: Uint8Array): void {
    const end = from + target.byteLength / ELEMENT_BYTES
    for (let at = from; at < end; at += CHUNK) {
      const count = Math.min(CHUNK, end - at)
      source.read(this.#bytes.subarray(WORDS_AT, WORDS_AT + count * 2), position + at * 2)
      this.#arena.kernels.widenBf16(VALUES_AT, WORDS_AT, padded(count))
      this.#copy(0, count, target, at - from)
    }
  }

  /** Elements of int8 with a scale for each `block` of them. @param target f32, as many as are read */
  readInt8(
    source: SourceFile,
    { position, scales }: SteppedRun,
    block: number,
    from: number,
    target: Uint8Array,
  ): void {
    const end = from + target.byteLength / ELEMENT_BYTES
    for (let at = from - (from % block); at < end; at += CHUNK) {
      const count = Math.min(CHUNK, end - at)
      const scaleBytes = Math.ceil(count / block) * ELEMENT_BYTES
      source.read(this.#bytes.subarray(WORDS_AT, WORDS_AT + count), position + at)
      source.read(this.#bytes.subarray(SCALES_AT, SCALES_AT + scaleBytes), scales + (at / block) * ELEMENT_BYTES)
      this.#arena.kernels.dequantise(VALUES_AT, WORDS_AT, SCALES_AT, padded(count), Math.log2(block))
      const skipped = Math.max(0, from - at)
      this.#copy(skipped, count, target, at + skipped - from)
    }
  }

  /** Gives decoded elements `first` to `end` their place in the target. */
  #copy(first: number, end: number, target: Uint8Array, at: number): void {
    const [begin, past] = [VALUES_AT + first * ELEMENT_BYTES, VALUES_AT + end * ELEMENT_BYTES]
    target.set(this.#bytes.subarray(begin, past), at * ELEMENT_BYTES)
  }
}
