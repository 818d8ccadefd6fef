import type { SafetensorsHeader, TensorEntry } from './safetensors-header.ts'
import { DTYPE_BYTES } from './tensor.ts'
import type { NonFinite, TensorFacts, TensorScan, TensorScans } from './tensor-scan.ts'

/** Element types whose values are looked into. */
export type FloatType = 'F32' | 'F16' | 'BF16'

/**
 * The sum of squares of a block of at most {@link BLOCK_ELEMENTS} little-endian elements, in f64 and in an order that
 * depends on their number alone. Not finite exactly when an element is not.
 */
export type SumOfSquares = (block: Uint8Array, dtype: FloatType) => number

/** Blocks are counted from where a tensor begins, so that sums do not depend on how its bytes were cut into pieces. */
export const BLOCK_ELEMENTS = 16_384

/** Where the bits of a value say that it is not finite (exponent all ones), which kind it is, and its sign. */
const LAYOUT = {
  F32: { exponent: 0x7f800000, mantissa: 0x007fffff, sign: 0x80000000 },
  F16: { exponent: 0x7c00, mantissa: 0x03ff, sign: 0x8000 },
  BF16: { exponent: 0x7f80, mantissa: 0x007f, sign: 0x8000 },
} as const satisfies Record<FloatType, object>

const UNREAD: TensorFacts = { squares: null, nonFinite: null }

/**
 * Scans of tensors that hold their values as they are. Floats of 16 and 32 bits are summed and checked; every other
 * type passes unread.
 */
export function denseScans(squares: SumOfSquares): TensorScans {
  return (_header: SafetensorsHeader) =>
    ({ dtype }: TensorEntry) =>
      isFloatType(dtype) ? new DenseScan(dtype, squares) : { push: () => undefined, finish: () => UNREAD }
}

class DenseScan implements TensorScan {
  readonly #dtype: FloatType
  readonly #squares: SumOfSquares
  readonly #blockBytes: number
  /** The beginning of a block that the pieces so far did not fill. */
  #rest: Uint8Array | undefined
  #filled = 0
  #blocks = 0
  #sum = 0
  #nonFinite: NonFinite | null = null

  constructor(dtype: FloatType, squares: SumOfSquares) {
    this.#dtype = dtype
    this.#squares = squares
    this.#blockBytes = BLOCK_ELEMENTS * DTYPE_BYTES[dtype]
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength && this.#nonFinite === null; ) {
      const left = bytes.byteLength - at
      if (this.#filled === 0 && left >= this.#blockBytes) {
        this.#add(bytes.subarray(at, at + this.#blockBytes))
        at += this.#blockBytes
        continue
      }
      this.#rest ??= new Uint8Array(this.#blockBytes)
      const fitting = bytes.subarray(at, at + Math.min(left, this.#blockBytes - this.#filled))
      this.#rest.set(fitting, this.#filled)
      this.#filled += fitting.byteLength
      at += fitting.byteLength
      if (this.#filled === this.#blockBytes) this.#addRest(this.#rest)
    }
  }

  finish(): TensorFacts {
    if (this.#rest && this.#filled > 0) this.#addRest(this.#rest)
    return { squares: this.#nonFinite === null ? this.#sum : null, nonFinite: this.#nonFinite }
  }

  #addRest(rest: Uint8Array): void {
    this.#add(rest.subarray(0, this.#filled))
    this.#filled = 0
  }

  #add(block: Uint8Array): void {
    const sum = this.#squares(block, this.#dtype)
    if (Number.isFinite(sum)) this.#sum += sum
    else this.#nonFinite = firstNonFinite(block, this.#dtype, this.#blocks * BLOCK_ELEMENTS)
    this.#blocks += 1
  }
}

function isFloatType(dtype: string): dtype is FloatType {
  return Object.hasOwn(LAYOUT, dtype)
}

/** @param offset flat index of the block's first element. */
function firstNonFinite(block: Uint8Array, dtype: FloatType, offset: number): NonFinite {
  const { exponent, mantissa, sign } = LAYOUT[dtype]
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  const width = DTYPE_BYTES[dtype]
  for (let at = 0; at < block.byteLength; at += width) {
    const bits = width === 4 ? view.getUint32(at, true) : view.getUint16(at, true)
    if ((bits & exponent) !== exponent) continue
    const infinity = (bits & sign) === 0 ? 'Infinity' : '-Infinity'
    return { index: offset + at / width, value: (bits & mantissa) === 0 ? infinity : 'NaN' }
  }
  throw new RangeError('a sum of squares of finite values is not finite')
}
