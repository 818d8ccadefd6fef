/**
 * The arithmetic of merging, over one linear memory. Offsets are in bytes; counts `n` of elements
 * are multiples of {@link LANES}: callers pad with zeros. Nothing is checked: an offset outside the
 * memory traps or throws. There are two implementations: reference.ts, plain TypeScript that states
 * the arithmetic, and the WebAssembly made from assembly/, which is bit-identical to it (but for the
 * payloads of NaNs that arithmetic makes).
 *
 * A table names the inputs of a kernel: `count` rows of {@link ROW_BYTES}, each the weight (f64), the
 * offset of the elements (u32), and for int8 the offset of the scales (u32).
 */
export type Kernels = {
  /**
   * acc[j] = acc[j] + w_i * x_i[j] in f64, one input after the other: each product and each sum is
   * rounded by itself, none is fused. @param acc f64[n]; inputs are f32[n]
   */
  accumulateF32(acc: number, table: number, count: number, n: number): void
  /** out[j] = f32(s[j]), where s is what {@link accumulateF32} makes of zeros. Fastest to about 8 inputs. */
  weightedSumF32(out: number, table: number, count: number, n: number): void
  /** {@link accumulateF32} of bfloat16 inputs, widened exactly. */
  accumulateBf16(acc: number, table: number, count: number, n: number): void
  /** {@link accumulateF32} of IEEE 754 binary16 inputs, widened exactly. */
  accumulateF16(acc: number, table: number, count: number, n: number): void
  /**
   * {@link accumulateF32} of inputs quantised in blocks of 2^shift elements: element j (int8) counts
   * scale j >> shift (f32), and the product of weight and scale is rounded to f64 before it is
   * multiplied by the element. @param shift at least 4
   */
  accumulateInt8(acc: number, table: number, count: number, n: number, shift: number): void
  /** out[j] = f32(acc[j]). @param out f32[n] @param acc f64[n] */
  narrow(out: number, acc: number, n: number): void
  /** out[j] = f32(factor * x[j]), the product in f64. Both f32[n], and they may be the same. */
  scale(out: number, x: number, factor: number, n: number): void
  /** out (f32[n]) is the value of x (bfloat16[n]); NaNs keep their payload. */
  widenBf16(out: number, x: number, n: number): void
  /** out (f32[n]) is the value of x (IEEE 754 binary16[n]). */
  widenF16(out: number, x: number, n: number): void
  /**
   * out[j] = f32(scale * x[j]) with scale number j >> shift. @param out f32[n] @param x int8[n]
   * @param scales f32, one for each 2^shift elements @param shift at least 4
   */
  dequantise(out: number, x: number, scales: number, n: number, shift: number): void
  /** Dot product of two f32[n] in f64, with the eight partial sums of {@link dotProduct} in reference.ts. */
  dot(x: number, y: number, n: number): number
  /** `dot(x, x, n)`. */
  sumOfSquares(x: number, n: number): number
  /**
   * delta[j] = f32(acc[j]) and out[j] = f32(base[j] + acc[j]), the sum in f64; then adds the sums of
   * squares of delta and of out to sums[0] and sums[1]. @param acc f64[n] @param sums f64[2]
   */
  finish(out: number, delta: number, base: number, acc: number, n: number, sums: number): void
  /** Adds the sum of squares of x to sums[0], and the dot product of x and delta to sums[1]; both f32[n]. */
  compare(x: number, delta: number, n: number, sums: number): void
  /**
   * out[j] = f32(m / k): m is the sum, ascending and in f64, of the k = count - 2 * trim inputs that
   * remain when the `trim` smallest and largest are left out; weights are ignored. Values are ordered
   * by IEEE 754 totalOrder: NaNs are the extremes, so trimming removes them.
   * @param trim fewer than half of count @param scratch 16 * count bytes
   */
  trimmedMean(out: number, table: number, count: number, trim: number, n: number, scratch: number): void
  /** {@link trimmedMean} that leaves one input (odd count) or the two in the middle. @param scratch 16 * count bytes */
  median(out: number, table: number, count: number, n: number, scratch: number): void
}

/** Every kernel by its name: what a module of them must export. */
export const KERNEL_NAMES = Object.keys({
  accumulateF32: true,
  weightedSumF32: true,
  accumulateBf16: true,
  accumulateF16: true,
  accumulateInt8: true,
  narrow: true,
  scale: true,
  widenBf16: true,
  widenF16: true,
  dequantise: true,
  dot: true,
  sumOfSquares: true,
  finish: true,
  compare: true,
  trimmedMean: true,
  median: true,
} satisfies Record<keyof Kernels, true>)

/** A linear memory and the kernels that work in it. */
export type Arena = { readonly buffer: ArrayBuffer; readonly kernels: Kernels }

/** Elements that a kernel takes at a time: one cache line of f32. */
export const LANES = 16

/** Size of a row of an input table: weight, two offsets. */
export const ROW_BYTES = 16

/** One row of an input table. */
export type Row = { readonly weight: number; readonly at: number; readonly scales?: number }

/** Writes row number `index` of the table at offset `table`. */
export function writeRow(buffer: ArrayBuffer, table: number, index: number, { weight, at, scales }: Row): void {
  const view = new DataView(buffer, table + index * ROW_BYTES, ROW_BYTES)
  view.setFloat64(0, weight, true)
  view.setUint32(8, at, true)
  view.setUint32(12, scales ?? 0, true)
}
