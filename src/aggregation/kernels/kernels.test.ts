import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createArena } from './arena.ts'
import { type Arena, type Kernels, LANES, ROW_BYTES, writeRow } from './kernels.ts'
import { bf16Value, f16Value, referenceKernels, trimmedMeanOf } from './reference.ts'

const BYTES = 1 << 18
/** Where the tests keep things: far apart, and none at 0. */
const TABLE = 1024
const SCRATCH = 8192
const SUMS = 32_768
const ACC = 36_864
const OUT = 49_152
const BASE = 57_344
const DELTA = 61_440
const SCALES = 65_536
const INPUTS = 69_632
const SEED = 20_261_123
const RUNS = 60

const SPECIAL_BITS = [
  0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x3f800000, 0xbf800000, 0x7f7fffff,
  0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0x7fffffff, 0x33800000, 0x3f7fffff,
]
const f32Bits = fc.oneof(fc.constantFrom(...SPECIAL_BITS), fc.integer({ min: 0, max: 0xffffffff }))
/** Finite and of like size, so that sums depend on the order of their terms. */
const tameBits = fc.float({ min: -2, max: 2, noNaN: true }).map((value) => {
  const word = new Float32Array([value])
  return new Uint32Array(word.buffer)[0]!
})
const words = fc.oneof(
  fc.array(f32Bits, { minLength: 1, maxLength: 200 }),
  fc.array(tameBits, { minLength: 1, maxLength: 200 }),
)
const weights = fc.oneof(fc.double({ min: -4, max: 4, noNaN: true }), fc.double())
const lanes = fc.integer({ min: 1, max: 5 }).map((n) => n * LANES)

/** Fills `length` words from `offset` with the given ones, over and over, each time rotated and so in other company. */
function fill(buffer: ArrayBuffer, offset: number, length: number, pattern: readonly number[]): void {
  const target = new Uint32Array(buffer, offset, length)
  for (let j = 0; j < length; j += 1) target[j] = pattern[(j * 7 + Math.floor(j / pattern.length)) % pattern.length]!
}

/** Runs the same program on both implementations over equal memories, and returns the memories. */
function onBoth(prepare: (buffer: ArrayBuffer) => void, program: (kernels: Kernels) => number | undefined): Arena[] {
  const slow = new ArrayBuffer(BYTES)
  const fast = createArena(BYTES)
  const arenas = [{ buffer: slow, kernels: referenceKernels(slow) }, fast]
  const results = arenas.map(({ buffer, kernels }) => {
    prepare(buffer)
    return program(kernels)
  })
  expect(results[1]).toBe(results[0])
  return arenas
}

function f32Of({ buffer }: Arena, offset: number, n: number): number[] {
  return canonical(new Uint32Array(buffer, offset, n), Array.from(new Float32Array(buffer, offset, n)))
}
/** Bits, so that -0 is not 0, but one NaN is like another. */
function canonical(bits: Uint32Array, values: readonly number[]): number[] {
  return Array.from(bits, (word, i) => (Number.isNaN(values[i]!) ? Number.NaN : word))
}
function f64Of({ buffer }: Arena, offset: number, n: number): unknown[] {
  const bits = new BigUint64Array(buffer, offset, n)
  return Array.from(new Float64Array(buffer, offset, n), (value, i) => (Number.isNaN(value) ? value : bits[i]))
}

function copied(values: readonly number[]): Arena {
  const { buffer, kernels } = createArena(values.length * 4)
  new Float32Array(buffer, 0, values.length).set(values)
  return { buffer, kernels }
}

/** Inputs of `n` elements of `width` bytes with their table. */
function prepareInputs(
  buffer: ArrayBuffer,
  pattern: readonly number[],
  w: readonly number[],
  n: number,
  width: number,
): void {
  const stride = n * width + 16
  fill(buffer, ACC, n * 2, pattern)
  fill(buffer, INPUTS, (stride * w.length) / 4, pattern)
  fill(buffer, SCALES, 1024, pattern.toReversed())
  for (const [i, weight] of w.entries()) {
    writeRow(buffer, TABLE, i, { weight, at: INPUTS + i * stride, scales: SCALES + i * 4 })
  }
}

type Fold = { readonly width: number; run(kernels: Kernels, count: number, n: number, shift: number): void }
const FOLDS: Record<string, Fold> = {
  accumulateF32: { width: 4, run: (kernels, count, n) => kernels.accumulateF32(ACC, TABLE, count, n) },
  accumulateBf16: { width: 2, run: (kernels, count, n) => kernels.accumulateBf16(ACC, TABLE, count, n) },
  accumulateF16: { width: 2, run: (kernels, count, n) => kernels.accumulateF16(ACC, TABLE, count, n) },
  accumulateInt8: { width: 1, run: (kernels, count, n, shift) => kernels.accumulateInt8(ACC, TABLE, count, n, shift) },
  weightedSumF32: { width: 4, run: (kernels, count, n) => kernels.weightedSumF32(OUT, TABLE, count, n) },
}

describe('the WebAssembly kernels equal the reference bit for bit:', () => {
  test.each(Object.entries(FOLDS))('%s', (_, { width, run }) => {
    const some = fc.array(weights, { minLength: 0, maxLength: 11 })
    fc.assert(
      fc.property(words, some, lanes, fc.integer({ min: 4, max: 7 }), (pattern, w, n, shift) => {
        const [a, b] = onBoth(
          (buffer) => prepareInputs(buffer, pattern, w, n, width),
          (kernels) => {
            run(kernels, w.length, n, shift)
            return undefined
          },
        )
        expect(f64Of(b!, ACC, n)).toEqual(f64Of(a!, ACC, n))
        expect(f32Of(b!, OUT, n)).toEqual(f32Of(a!, OUT, n))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test('narrow, scale, dot and sumOfSquares', () => {
    fc.assert(
      fc.property(words, words, weights, lanes, (pattern, other, factor, n) => {
        const [a, b] = onBoth(
          (buffer) => {
            fill(buffer, ACC, n * 2, pattern)
            fill(buffer, BASE, n, pattern)
            fill(buffer, DELTA, n, other)
          },
          (kernels) => {
            kernels.narrow(OUT, ACC, n)
            kernels.scale(INPUTS, BASE, factor, n)
            return kernels.dot(BASE, DELTA, n)
          },
        )
        expect(f32Of(b!, OUT, n)).toEqual(f32Of(a!, OUT, n))
        expect(f32Of(b!, INPUTS, n)).toEqual(f32Of(a!, INPUTS, n))
        expect(b!.kernels.sumOfSquares(DELTA, n)).toBe(a!.kernels.sumOfSquares(DELTA, n))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test('finish and compare', () => {
    fc.assert(
      fc.property(words, words, lanes, (pattern, other, n) => {
        const [a, b] = onBoth(
          (buffer) => {
            fill(buffer, ACC, n * 2, pattern)
            new Float64Array(buffer, ACC, n).set(
              Float64Array.from(new Float32Array(buffer, ACC, n), (x) => x * (1 / 3)),
            )
            fill(buffer, BASE, n, other)
            fill(buffer, INPUTS, n, pattern)
            new Float64Array(buffer, SUMS, 4).fill(0.1)
          },
          (kernels) => {
            kernels.finish(OUT, DELTA, BASE, ACC, n, SUMS)
            kernels.compare(INPUTS, DELTA, n, SUMS + 16)
            return undefined
          },
        )
        expect(f32Of(b!, OUT, n)).toEqual(f32Of(a!, OUT, n))
        expect(f32Of(b!, DELTA, n)).toEqual(f32Of(a!, DELTA, n))
        expect(f64Of(b!, SUMS, 4)).toEqual(f64Of(a!, SUMS, 4))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 50, 64, 100])(
    'trimmedMean and median of %d',
    (count) => {
      const most = (count - 1) >> 1
      fc.assert(
        fc.property(words, fc.integer({ min: 0, max: most }), (pattern, trim) => {
          const [a, b] = onBoth(
            (buffer) => prepareInputs(buffer, pattern, new Array(count).fill(1), 2 * LANES, 4),
            (kernels) => {
              kernels.trimmedMean(OUT, TABLE, count, trim, 2 * LANES, SCRATCH)
              kernels.median(BASE, TABLE, count, 2 * LANES, SCRATCH)
              return undefined
            },
          )
          expect(f32Of(b!, OUT, 2 * LANES)).toEqual(f32Of(a!, OUT, 2 * LANES))
          expect(f32Of(b!, BASE, 2 * LANES)).toEqual(f32Of(a!, BASE, 2 * LANES))
        }),
        { seed: SEED, numRuns: 25 },
      )
    },
  )

  // A network sorts everything if it sorts every pattern of two values (Knuth, TAOCP 3, section 5.3.4, theorem Z):
  // checked exhaustively up to 10 inputs, and beyond that by patterns spread over all of them.
  const columnsOf = (count: number, n: number, block: number) =>
    Array.from({ length: n }, (_, j) => (count <= 10 ? block * n + j : Math.imul(block * n + j, 0x9e3779b1) >>> 0))

  test.each([2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 21, 27, 32])(
    'a network of %d sorts patterns of two values',
    (count) => {
      const n = 64
      const arena = createArena(BYTES)
      for (let block = 0; block < (count <= 10 ? Math.ceil(2 ** count / n) : 16); block += 1) {
        const columns = columnsOf(count, n, block)
        for (let i = 0; i < count; i += 1) {
          new Float32Array(arena.buffer, INPUTS + i * n * 4, n).set(columns.map((bits) => (bits >>> i) & 1))
          writeRow(arena.buffer, TABLE, i, { weight: 1, at: INPUTS + i * n * 4 })
        }
        for (let trim = 0; 2 * trim < count; trim += 1) {
          arena.kernels.trimmedMean(OUT, TABLE, count, trim, n, SCRATCH)
          const ones = columns.map((bits) => Array.from({ length: count }, (_, i) => (bits >>> i) & 1))
          expect(f32Of(arena, OUT, n)).toEqual(f32Of(copied(ones.map((column) => trimmedMeanOf(column, trim))), 0, n))
        }
      }
    },
  )

  test('every bfloat16 and every binary16 widens to its value', () => {
    for (let first = 0; first < 65_536; first += 4096) {
      const [a, b] = onBoth(
        (buffer) => new Uint16Array(buffer, BASE, 4096).set(Array.from({ length: 4096 }, (_, j) => first + j)),
        (kernels) => {
          kernels.widenBf16(INPUTS, BASE, 4096)
          kernels.widenF16(INPUTS + 65_536, BASE, 4096)
          return undefined
        },
      )
      expect(new Uint32Array(b!.buffer, INPUTS, 4096)).toEqual(new Uint32Array(a!.buffer, INPUTS, 4096))
      expect(f32Of(b!, INPUTS + 65_536, 4096)).toEqual(f32Of(a!, INPUTS + 65_536, 4096))
    }
  })

  test('dequantise', () => {
    fc.assert(
      fc.property(words, lanes, fc.integer({ min: 4, max: 7 }), (pattern, n, shift) => {
        const [a, b] = onBoth(
          (buffer) => {
            fill(buffer, BASE, n / 4, pattern)
            fill(buffer, SCALES, n, pattern)
          },
          (kernels) => {
            kernels.dequantise(OUT, BASE, SCALES, n, shift)
            return undefined
          },
        )
        expect(f32Of(b!, OUT, n)).toEqual(f32Of(a!, OUT, n))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })
})

describe('the reference', () => {
  test('knows the numbers of the formats', () => {
    expect([0x3f80, 0xc000, 0x0001, 0x7f80].map(bf16Value)).toEqual([1, -2, 2 ** -133, Number.POSITIVE_INFINITY])
    expect([0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00].map(f16Value)).toEqual([
      1,
      -2,
      2 ** -24,
      65_504,
      Number.NEGATIVE_INFINITY,
    ])
    expect([0x7fc0, 0x7f81].map(bf16Value)).toEqual([Number.NaN, Number.NaN])
    expect(f16Value(0x7c01)).toBeNaN()
  })

  test('trims hostile values from both ends', () => {
    expect(trimmedMeanOf([Number.NaN, 1, 2, Number.NEGATIVE_INFINITY, 3], 1)).toBe(2)
    expect(trimmedMeanOf([0, -0, -0], 1)).toBe(-0)
    expect(trimmedMeanOf([3e38, 3e38], 0)).toBe(Math.fround(3e38))
    expect(() => trimmedMeanOf([1, 2], 1)).toThrow(RangeError)
  })
})

describe('an arena', () => {
  test('is as large as asked, zeroed, and never larger than its offsets reach', () => {
    const { buffer } = createArena(65_537)
    expect(buffer.byteLength).toBe(131_072)
    expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true)
    expect(() => createArena(2 ** 32 + 1)).toThrow(expect.objectContaining({ code: 'RESOURCE_EXHAUSTED' }))
    expect(() => createArena(Number.NaN)).toThrow(expect.objectContaining({ code: 'RESOURCE_EXHAUSTED' }))
  })

  test('traps on an offset outside its memory', () => {
    expect(() => createArena(1).kernels.sumOfSquares(65_536 - 32, 1024)).toThrow(WebAssembly.RuntimeError)
  })

  test('has rows of the size that tables have', () => {
    const { buffer } = createArena(1)
    writeRow(buffer, 0, 1, { weight: 0.5, at: 7, scales: 9 })
    expect(new Float64Array(buffer, ROW_BYTES, 1)[0]).toBe(0.5)
    expect(Array.from(new Uint32Array(buffer, ROW_BYTES + 8, 2))).toEqual([7, 9])
  })
})
