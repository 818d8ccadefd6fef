/**
 * The arithmetic of a merge over one linear memory. Every argument but a count is a byte offset
 * into that memory; element counts `n` are multiples of {@link LANES}: callers pad with zeros.
 * There are two implementations: reference.ts, plain TypeScript that states the arithmetic, and the
 * WebAssembly of kernels/assembly, which is bit-identical to it (NaNs count as equal).
 */
export type MergeKernels = {
  /**
   * acc[j] = acc[j] + w_i * x_i[j] in f64, one input after the other: each product and each sum is
   * rounded to f64, none is fused. Inputs are f32.
   * @param acc f64[n]
   * @param table `count` rows of {@link ROW_BYTES}: the weight (f64), then the offset of x_i (u32)
   */
  accumulate(acc: number, table: number, count: number, n: number): void
  /**
   * delta[j] = f32(acc[j]) and out[j] = f32(base[j] + acc[j]), the sum in f64.
   * Adds the sums of squares of delta and of out to sums[0] and sums[1].
   * @param sums f64[2]
   */
  finish(out: number, delta: number, base: number, acc: number, n: number, sums: number): void
  /** Adds the sum of squares of x to sums[0], and the dot product of x and delta to sums[1]; both f32[n]. */
  compare(x: number, delta: number, n: number, sums: number): void
}

/** Elements that a kernel takes at a time: one cache line of f32. */
export const LANES = 16

/** Size of a row of the input table: weight, offset, and padding to keep the weights aligned. */
export const ROW_BYTES = 16

/** A linear memory and the kernels that work in it. */
export type Arena = { readonly buffer: ArrayBuffer; readonly kernels: MergeKernels }
