import { type Kernels, LANES, ROW_BYTES } from './kernels.ts'

/** Sums of a kernel are kept in this many f64 lanes: element j goes to lane j mod 8. */
const SUM_LANES = 8

type Input = { readonly weight: number; readonly at: number; readonly scales: number }

/** The kernels in plain TypeScript: slow, and the definition of what the fast ones compute. */
export function referenceKernels(buffer: ArrayBuffer): Kernels {
  const f32 = (offset: number, n: number) => new Float32Array(buffer, offset, n)
  const f64 = (offset: number, n: number) => new Float64Array(buffer, offset, n)
  const u32 = (offset: number, n: number) => new Uint32Array(buffer, offset, n)
  const u16 = (offset: number, n: number) => new Uint16Array(buffer, offset, n)
  const rows = (table: number, count: number) => readRows(buffer, table, count)
  return {
    accumulateF32: (acc, table, count, n) => accumulate(f64(acc, n), rows(table, count), ({ at }) => f32(at, n)),
    weightedSumF32(out, table, count, n) {
      const sum = new Float64Array(n)
      accumulate(sum, rows(table, count), ({ at }) => f32(at, n))
      f32(out, n).set(sum)
    },
    accumulateBf16: (acc, table, count, n) =>
      accumulate(f64(acc, n), rows(table, count), ({ at }) => Float32Array.from(u16(at, n), bf16Value)),
    accumulateF16: (acc, table, count, n) =>
      accumulate(f64(acc, n), rows(table, count), ({ at }) => Float32Array.from(u16(at, n), f16Value)),
    accumulateInt8(acc, table, count, n, shift) {
      for (const { weight, at, scales } of rows(table, count)) {
        const [q, scale, sum] = [new Int8Array(buffer, at, n), f32(scales, Math.ceil(n / 2 ** shift)), f64(acc, n)]
        for (let j = 0; j < n; j += 1) sum[j]! += weight * scale[j >> shift]! * q[j]!
      }
    },
    narrow: (out, acc, n) => f32(out, n).set(f64(acc, n)),
    scale: (out, x, factor, n) => f32(out, n).set(Float64Array.from(f32(x, n), (value) => factor * value)),
    widenBf16: (out, x, n) => u32(out, n).set(Uint32Array.from(u16(x, n), (bits) => bits << 16)),
    widenF16: (out, x, n) => f32(out, n).set(Float32Array.from(u16(x, n), f16Value)),
    dequantise(out, x, scales, n, shift) {
      const [q, scale] = [new Int8Array(buffer, x, n), f32(scales, Math.ceil(n / 2 ** shift))]
      f32(out, n).set(Float64Array.from(q, (step, j) => scale[j >> shift]! * step))
    },
    dot: (x, y, n) => dotProduct(f32(x, n), f32(y, n)),
    sumOfSquares: (x, n) => dotProduct(f32(x, n), f32(x, n)),
    finish(out, delta, base, acc, n, sums) {
      const total = f64(acc, n)
      f32(delta, n).set(total)
      f32(out, n).set(Float64Array.from(f32(base, n), (value, j) => value + total[j]!))
      f64(sums, 2)[0]! += dotProduct(f32(delta, n), f32(delta, n))
      f64(sums, 2)[1]! += dotProduct(f32(out, n), f32(out, n))
    },
    compare(x, delta, n, sums) {
      f64(sums, 2)[0]! += dotProduct(f32(x, n), f32(x, n))
      f64(sums, 2)[1]! += dotProduct(f32(x, n), f32(delta, n))
    },
    trimmedMean(out, table, count, trim, n) {
      const inputs = rows(table, count).map(({ at }) => f32(at, n))
      f32(out, n).set(
        Float32Array.from({ length: n }, (_, j) =>
          trimmedMeanOf(
            inputs.map((x) => x[j]!),
            trim,
          ),
        ),
      )
    },
    median(out, table, count, n) {
      this.trimmedMean(out, table, count, (count - 1) >> 1, n, 0)
    },
  }
}

function readRows(buffer: ArrayBuffer, table: number, count: number): Input[] {
  const view = new DataView(buffer, table, count * ROW_BYTES)
  return Array.from({ length: count }, (_, i) => ({
    weight: view.getFloat64(i * ROW_BYTES, true),
    at: view.getUint32(i * ROW_BYTES + 8, true),
    scales: view.getUint32(i * ROW_BYTES + 12, true),
  }))
}

function accumulate(acc: Float64Array, inputs: Input[], values: (input: Input) => Float32Array): void {
  for (const input of inputs) {
    const x = values(input)
    for (let j = 0; j < acc.length; j += 1) acc[j]! += input.weight * x[j]!
  }
}

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)

/** The value of a bfloat16: the upper half of an f32. */
export function bf16Value(bits: number): number {
  word[0] = bits << 16
  return float[0]!
}

/** The value of an IEEE 754 binary16. */
export function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/**
 * Dot product of two f32 vectors of equal length, a multiple of 16, in f64: eight interleaved
 * partial sums, added as ((0+2)+(4+6)) + ((1+3)+(5+7)), which is what four two-lane registers give.
 */
export function dotProduct(a: Float32Array, b: Float32Array): number {
  if (a.length % LANES !== 0 || a.length !== b.length) throw new RangeError('vectors are not of one padded length')
  const s = new Float64Array(SUM_LANES)
  for (let j = 0; j < a.length; j += 1) s[j % SUM_LANES]! += a[j]! * b[j]!
  return s[0]! + s[2]! + (s[4]! + s[6]!) + (s[1]! + s[3]! + (s[5]! + s[7]!))
}

/** Mean, as a double, of what remains of `values` without the `trim` smallest and largest in total order. */
export function trimmedMeanOf(values: readonly number[], trim: number): number {
  const [first, ...rest] = inTotalOrder(values).slice(trim, values.length - trim)
  if (first === undefined) throw new RangeError('nothing remains')
  return rest.reduce((sum, value) => sum + value, first) / (rest.length + 1)
}

/** Floats in IEEE 754 totalOrder: -NaN, -infinity ... -0, +0 ... +infinity, NaN. */
function inTotalOrder(values: readonly number[]): number[] {
  const keys = new Int32Array(Float32Array.from(values).buffer).map((bits) => bits ^ ((bits >> 31) & 0x7fffffff)).sort()
  return Array.from(new Float32Array(keys.map((key) => key ^ ((key >> 31) & 0x7fffffff)).buffer))
}
