import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Codec, parseCodecText } from '../../core/codec.ts'
import { fromBf16, toBf16 } from './bf16.ts'
import { encodeTensor } from './encode-tensor.ts'
import { isScale, quantise } from './int8.ts'
import { keptCount, largest } from './top-k.ts'

const CODECS = ['f32', 'bf16', 'int8:block=32', 'int8:block=256', 'topk:fraction=0.1', 'topk:fraction=1'].map(
  parseCodecText,
)
const MOST = 3.4028234663852886e38
const SPECIAL = [0, -0, 1e-45, -1e-45, 1.1754943508222875e-38, -1e-36, 1e-30, 1, -1, 255, 256.5, 3e38, MOST, -MOST]

const value = fc.oneof(
  fc.constantFrom(...SPECIAL),
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.float({ min: -1, max: 1, noNaN: true }),
)
const tensor = fc.array(value, { maxLength: 300 }).map((values) => Float32Array.from(values))

/** Bits, so that -0 is not 0. */
const bitsOf = (data: ArrayBufferView) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex')
const bytesOf = (codec: Codec, values: Float32Array) =>
  encodeTensor(codec, 'w', values).parts.map(([name, data]) => [name, bitsOf(data)])

describe.each(CODECS)('$name $parameters', (codec) => {
  it('gives the same bytes for what was decoded', () => {
    fc.assert(
      fc.property(tensor, (values) => {
        const decoded = encodeTensor(codec, 'w', values).decode()
        expect(decoded).toHaveLength(values.length)
        expect(bytesOf(codec, decoded)).toEqual(bytesOf(codec, values))
      }),
      { seed: 1, numRuns: 100 },
    )
  })

  it('keeps finite values finite', () => {
    fc.assert(
      fc.property(tensor, (values) => {
        expect(encodeTensor(codec, 'w', values).decode().every(Number.isFinite)).toBe(true)
      }),
      { seed: 2, numRuns: 100 },
    )
  })
})

describe('bf16', () => {
  it('rounds to the nearest, ties to even', () => {
    const cases: [number, number][] = [
      [1, 0x3f80],
      [1 + 2 ** -8, 0x3f80],
      [1 + 2 ** -8 + 2 ** -23, 0x3f81],
      [1 + 3 * 2 ** -8, 0x3f82],
      [-(1 + 2 ** -8), 0xbf80],
      [-0, 0x8000],
      [MOST, 0x7f7f],
      [-MOST, 0xff7f],
    ]
    for (const [wide, narrow] of cases) expect(toBf16(Float32Array.of(wide))[0]).toBe(narrow)
  })

  it('is within 2^-8 of normal values', () => {
    const normal = fc.float({ min: -(2 ** 126), max: 2 ** 126, noNaN: true }).filter((x) => Math.abs(x) > 1.2e-38)
    fc.assert(
      fc.property(normal, (x) => {
        const found = fromBf16(toBf16(Float32Array.of(x)))[0]!
        expect(Math.abs(found - x)).toBeLessThanOrEqual(2 ** -8 * Math.abs(x))
      }),
    )
  })
})

describe('int8', () => {
  it('is within half a step, and a step is the largest magnitude of its block over 127', () => {
    fc.assert(
      fc.property(tensor, (values) => {
        const { scales } = quantise(values, 32)
        const decoded = encodeTensor(parseCodecText('int8:block=32'), 'w', values).decode()
        for (const [j, x] of values.entries()) {
          const most = Math.max(...values.subarray(j - (j % 32), j - (j % 32) + 32).map(Math.abs))
          const scale = scales[j >> 5]!
          expect(isScale(scale)).toBe(true)
          expect(scale).toBeLessThanOrEqual((most / 127) * (1 + 2 ** -16))
          const bound = scale === 0 ? 127 * 2 ** -126 : (scale / 2) * (1 + 2 ** -16)
          expect(Math.abs(decoded[j]! - x)).toBeLessThanOrEqual(bound)
        }
      }),
      { seed: 3, numRuns: 100 },
    )
  })

  it('makes products that need no rounding, and takes no other scale', () => {
    for (const most of SPECIAL.map(Math.abs)) {
      const scale = quantise(Float32Array.of(most), 32).scales[0]!
      for (let step = -127; step <= 127; step += 1) expect(Math.fround(step * scale)).toBe(step * scale)
    }
    for (const scale of [-1, -0, 1e-45, 1e-39, 0.1, 3e36, MOST, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(isScale(Math.fround(scale))).toBe(false)
    }
  })
})

describe('topk', () => {
  it('keeps the largest, and of equal ones the first', () => {
    const { indices, values } = largest(Float32Array.of(1, -3, 2, -2, 0, 3, 2), 4)
    expect([...indices]).toEqual([1, 2, 3, 5])
    expect([...values]).toEqual([-3, 2, -2, 3])
  })

  it('is what sorting finds', () => {
    fc.assert(
      fc.property(tensor, fc.double({ min: 0.001, max: 1, noNaN: true }), (values, fraction) => {
        const kept = keptCount(values.length, fraction)
        const order = [...values.keys()].sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b)
        expect([...largest(values, kept).indices]).toEqual(order.slice(0, kept).sort((a, b) => a - b))
      }),
      { seed: 4, numRuns: 100 },
    )
  })

  it('sends at least one value of a tensor that has any', () => {
    expect([keptCount(0, 0.5), keptCount(1, 1e-9), keptCount(1000, 0.01), keptCount(7, 1)]).toEqual([0, 1, 10, 7])
  })
})
