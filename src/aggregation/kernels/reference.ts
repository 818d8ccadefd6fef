import type { MergeKernels } from './kernels.ts'
import { LANES, ROW_BYTES } from './kernels.ts'

/** Sums of a kernel are kept in this many f64 lanes: element j goes to lane j mod 8. */
const SUM_LANES = 8

/** The merge kernels in plain TypeScript: slow, and the definition of what the fast ones compute. */
export function referenceMergeKernels(memory: ArrayBufferLike): MergeKernels {
  const f32 = (offset: number, n: number) => new Float32Array(memory, offset, n)
  const f64 = (offset: number, n: number) => new Float64Array(memory, offset, n)
  const view = new DataView(memory)
  return {
    accumulate(acc, table, count, n) {
      const sums = f64(acc, n)
      for (let i = 0; i < count; i += 1) {
        const weight = view.getFloat64(table + i * ROW_BYTES, true)
        const x = f32(view.getUint32(table + i * ROW_BYTES + 8, true), n)
        for (let j = 0; j < n; j += 1) sums[j]! += weight * x[j]!
      }
    },
    finish(out, delta, base, acc, n, sums) {
      const [o, d, b, a] = [f32(out, n), f32(delta, n), f32(base, n), f64(acc, n)]
      for (let j = 0; j < n; j += 1) {
        d[j] = a[j]!
        o[j] = b[j]! + a[j]!
      }
      const total = f64(sums, 2)
      total[0]! += dotProduct(d, d)
      total[1]! += dotProduct(o, o)
    },
    compare(x, delta, n, sums) {
      const [input, d, total] = [f32(x, n), f32(delta, n), f64(sums, 2)]
      total[0]! += dotProduct(input, input)
      total[1]! += dotProduct(input, d)
    },
  }
}

/**
 * Dot product of two f32 vectors of equal length, a multiple of 16, in f64: eight interleaved
 * partial sums, added as (((0+2)+(4+6)) + ((1+3)+(5+7))), which is what four two-lane registers give.
 */
export function dotProduct(a: Float32Array, b: Float32Array): number {
  if (a.length % LANES !== 0 || a.length !== b.length) throw new RangeError('vectors are not of one padded length')
  const s = new Float64Array(SUM_LANES)
  for (let j = 0; j < a.length; j += 1) s[j % SUM_LANES]! += a[j]! * b[j]!
  return s[0]! + s[2]! + (s[4]! + s[6]!) + (s[1]! + s[3]! + (s[5]! + s[7]!))
}
