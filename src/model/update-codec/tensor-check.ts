import { assertNever } from '../../core/assert.ts'
import type { Codec } from '../../core/codec.ts'
import { accept, reject, type Verdict } from '../../core/rejection.ts'
import { quoted } from '../header-text.ts'
import type { TensorEntry } from '../safetensors-header.ts'
import { elementCount, type TensorSpec } from '../tensor.ts'
import { fromBf16 } from './bf16.ts'
import { INDICES, SCALES, VALUES } from './encoded-layout.ts'
import { isScale, MOST_STEPS } from './int8.ts'

/**
 * Judges the elements of one encoded tensor, stretch by stretch from its beginning.
 * @param bytes whole elements, on a boundary of 4 bytes; @param first flat index of the first of them
 * @returns the sum of squares of what they decode to, in f64
 */
export type TensorCheck = (bytes: Uint8Array, first: number) => Verdict<number>

/** Checks for the tensors of one encoded file, in the order of the file. Holds the scales of int8, and nothing else. */
export class TensorChecks {
  readonly #codec: Codec
  readonly #sizes: ReadonlyMap<string, number>
  readonly #scales = new Map<string, Float32Array>()

  /** @param model the F32 tensors that the update is for */
  constructor(codec: Codec, model: readonly TensorSpec[]) {
    this.#codec = codec
    this.#sizes = new Map(model.map(({ name, shape }) => [name, elementCount(shape)]))
  }

  /** @param entry a tensor of a file whose header has been checked */
  of({ name, shape }: TensorEntry): TensorCheck {
    const codec = this.#codec
    switch (codec.name) {
      case 'f32':
        return floats(name)
      case 'bf16':
        return (bytes, first) =>
          finiteSquares(name, fromBf16(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)), first)
      case 'topk':
        return name.startsWith(INDICES)
          ? ascending(name, this.#sizes.get(name.slice(INDICES.length)) ?? 0)
          : floats(name)
      case 'int8': {
        if (!name.startsWith(SCALES))
          return steps(name, this.#scalesOf(name.slice(VALUES.length)), codec.parameters.block)
        const kept = new Float32Array(elementCount(shape))
        this.#scales.set(name.slice(SCALES.length), kept)
        return scales(name, kept)
      }
      default:
        return assertNever(codec)
    }
  }

  #scalesOf(name: string): Float32Array {
    return this.#scales.get(name) ?? new Float32Array()
  }
}

function floats(name: string): TensorCheck {
  return (bytes, first) => finiteSquares(name, floatsOf(bytes), first)
}

/** A square of a finite f32 is below 2^256, so only NaN or an infinity can take the sum out of range. */
function finiteSquares(name: string, values: Float32Array, first: number): Verdict<number> {
  let sum = 0
  for (const value of values) sum += value * value
  if (Number.isFinite(sum)) return accept(sum)
  const index = values.findIndex((value) => !Number.isFinite(value))
  return reject('NON_FINITE', `the tensor ${quoted(name)} holds ${values[index]} at flat index ${first + index}`)
}

function ascending(name: string, size: number): TensorCheck {
  let last = -1
  return (bytes) => {
    for (const index of new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)) {
      if (index <= last || index >= size) {
        const problem = index >= size ? `outside of ${size} elements` : `after ${last}`
        return reject('MALFORMED', `the tensor ${quoted(name)} holds the index ${index}, ${problem}`)
      }
      last = index
    }
    return accept(0)
  }
}

function scales(name: string, kept: Float32Array): TensorCheck {
  return (bytes, first) => {
    const found = floatsOf(bytes)
    const bad = found.findIndex((scale) => !isScale(scale))
    kept.set(found, first)
    if (bad < 0) return accept(0)
    const reason = Number.isFinite(found[bad]) ? 'MALFORMED' : 'NON_FINITE'
    return reject(reason, `the tensor ${quoted(name)} holds ${found[bad]} at ${first + bad}, which is no scale`)
  }
}

function steps(name: string, blockScales: Float32Array, block: number): TensorCheck {
  return (bytes, first) => {
    const found = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let sum = 0
    for (let at = 0; at < found.length; ) {
      const end = Math.min(found.length, at + block - ((first + at) % block))
      const scale = blockScales[Math.floor((first + at) / block)] ?? 0
      let squares = 0
      for (; at < end; at += 1) {
        const step = found[at]!
        if (step < -MOST_STEPS) {
          return reject('MALFORMED', `the tensor ${quoted(name)} holds ${step} at flat index ${first + at}`)
        }
        squares += step * step
      }
      sum += squares * scale * scale
    }
    return accept(sum)
  }
}

function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}
