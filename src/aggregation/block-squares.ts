import { BLOCK_ELEMENTS, type FloatType, type SumOfSquares } from '../model/dense-scan.ts'
import { DTYPE_BYTES } from '../model/tensor.ts'
import { createArena } from './kernels/arena.ts'
import { LANES } from './kernels/kernels.ts'

const WIDE_BYTES = BLOCK_ELEMENTS * DTYPE_BYTES.F32

/**
 * Sums of squares by the kernels of the merge, in the eight partial sums of `dotProduct` in kernels/reference.ts;
 * values of 16 bits are widened exactly. Takes one arena of {@link BLOCK_ELEMENTS} elements, so one thread has one.
 */
export function blockSquares(): SumOfSquares {
  const { buffer, kernels } = createArena(WIDE_BYTES + BLOCK_ELEMENTS * DTYPE_BYTES.F16)
  const memory = new Uint8Array(buffer)
  return (block: Uint8Array, dtype: FloatType) => {
    const at = dtype === 'F32' ? 0 : WIDE_BYTES
    const width = DTYPE_BYTES[dtype]
    const n = Math.ceil(block.byteLength / width / LANES) * LANES
    memory.set(block, at)
    memory.fill(0, at + block.byteLength, at + n * width)
    if (dtype === 'BF16') kernels.widenBf16(0, at, n)
    if (dtype === 'F16') kernels.widenF16(0, at, n)
    return kernels.sumOfSquares(0, n)
  }
}
