import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { summaryOfPieces } from '../../test/inspect-delta.ts'
import { blockSquares } from '../aggregation/block-squares.ts'
import { referenceKernels } from '../aggregation/kernels/reference.ts'
import { BLOCK_ELEMENTS, type FloatType, type SumOfSquares } from './dense-scan.ts'
import { encodeHeader, type TensorData } from './safetensors.ts'
import { MAX_SCANNED_HEADER_BYTES } from './safetensors-scan.ts'
import { parseSummary, type Summary, summaryText } from './summary.ts'
import { DTYPE_BYTES, type TensorSpec } from './tensor.ts'

const squares = blockSquares()
const summarize = (...pieces: Uint8Array[]) => summaryOfPieces(pieces, squares)

/** A file whose tensors are given in order of name. */
function file(...tensors: readonly (TensorSpec & { readonly data: Uint8Array | Float32Array })[]): Buffer {
  const parts = tensors.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return Buffer.concat([encodeHeader(tensors), ...parts])
}

function tensor(name: string, data: Float32Array, shape: readonly number[] = [data.length]): TensorData {
  return { name, dtype: 'F32', shape, data }
}

/** More than one block in `b`, with boundaries of tensors inside blocks. */
function threeTensors(): [Float32Array, Float32Array, Float32Array] {
  const fill = (length: number, offset: number) => Float32Array.from({ length }, (_, i) => ((i + offset) % 7) / 3 - 1)
  return [fill(1001, 0), fill(3 * BLOCK_ELEMENTS + 5, 1), fill(77, 2)]
}

function fileOf([a, b, c]: readonly [Float32Array, Float32Array, Float32Array]): Buffer {
  return file(tensor('a', a), tensor('b', b), tensor('c', c, [7, 11]), tensor('none', new Float32Array(), [0, 5]))
}

/** Cuts bytes at random places, some of them equal. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % bytes.length).sort((x, y) => x - y), bytes.length]
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

const factsOf = (summary: Summary) => (summary.kind === 'tensors' ? summary.tensors : [])
const bad = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)

describe('SafetensorsScan', () => {
  it('sums in a stated order, and the same however the bytes are cut', () => {
    const values = threeTensors()
    const bytes = fileOf(values)
    const buffer = new ArrayBuffer(4 * BLOCK_ELEMENTS)
    const reference: SumOfSquares = (block) => {
      new Uint8Array(buffer).fill(0)
      new Uint8Array(buffer).set(block)
      return referenceKernels(buffer).sumOfSquares(0, BLOCK_ELEMENTS)
    }
    const whole = summaryOfPieces([bytes], reference)
    expect(factsOf(whole).map(({ name }) => name)).toEqual(['a', 'b', 'c', 'none'])
    expect(factsOf(whole)[2]).toMatchObject({ dtype: 'F32', shape: [7, 11], nonFinite: null })
    expect(factsOf(whole)[1]?.squares).toBeCloseTo(
      values[1].reduce((sum, value) => sum + value * value, 0),
      6,
    )
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 40 }), (places) => {
        expect(summarize(...cut(bytes, places))).toEqual(whole)
      }),
      { seed: 3, numRuns: 40 },
    )
    expect(summarize(...[...bytes.subarray(0, 2000)].map((byte) => Buffer.of(byte)), bytes.subarray(2000))).toEqual(
      whole,
    )
  })

  it('names the first value of a tensor that is not finite', () => {
    const place = fc.oneof(
      fc.tuple(fc.constant(0), fc.nat({ max: 1000 })),
      fc.tuple(fc.constant(1), fc.constantFrom(0, BLOCK_ELEMENTS - 1, BLOCK_ELEMENTS, 3 * BLOCK_ELEMENTS + 4)),
      fc.tuple(fc.constant(2), fc.nat({ max: 76 })),
    )
    fc.assert(
      fc.property(place, bad, fc.array(fc.nat(), { maxLength: 4 }), ([which, index], value, places) => {
        const tensors = threeTensors()
        tensors[which]?.fill(Number.NaN, index + 1)
        tensors[which]?.fill(value, index, index + 1)
        const facts = factsOf(summarize(...cut(fileOf(tensors), places)))
        expect(facts[which]).toMatchObject({ squares: null, nonFinite: { index, value: String(value) } })
        expect(facts.filter(({ nonFinite }) => nonFinite !== null)).toHaveLength(1)
      }),
      { seed: 5, numRuns: 40 },
    )
  })

  it.each([
    ['F16', [0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff], 1 + 4 + 2 ** -48 + 65504 ** 2],
    ['BF16', [0x3f80, 0xc000, 0x0001, 0x8000, 0x7f7f], 1 + 4 + (255 / 128) ** 2 * 2 ** 254],
  ] as const)('widens %s exactly', (dtype: FloatType, bits, expected) => {
    const of = (words: readonly number[]) =>
      factsOf(
        summarize(
          file({ name: 'a', dtype, shape: [words.length], data: new Uint8Array(Uint16Array.from(words).buffer) }),
        ),
      )[0]
    expect(of(bits)).toMatchObject({ squares: expected, nonFinite: null })
    const exponent = dtype === 'F16' ? 0x7c00 : 0x7f80
    expect(of([...bits, exponent + 1])?.nonFinite).toEqual({ index: 5, value: 'NaN' })
    expect(of([exponent, 0, exponent + 1])?.nonFinite).toEqual({ index: 0, value: 'Infinity' })
    expect(of([0, 0, exponent + 0x8000])?.nonFinite).toEqual({ index: 2, value: '-Infinity' })
  })

  it('takes the largest finite values without calling them infinite', () => {
    const largest = new Float32Array(3 * BLOCK_ELEMENTS).fill(3.4028234663852886e38)
    expect(factsOf(summarize(file(tensor('a', largest))))[0]).toMatchObject({ nonFinite: null })
  })

  it('passes element types by that it does not look into', () => {
    for (const dtype of ['I8', 'U64', 'F64', 'F8_E4M3', 'BOOL'] as const) {
      const data = new Uint8Array(3 * DTYPE_BYTES[dtype]).fill(0xff)
      expect(factsOf(summarize(file({ name: 'a', dtype, shape: [3], data })))[0]).toMatchObject({
        dtype,
        squares: null,
        nonFinite: null,
      })
    }
  })

  it('says what is wrong with anything else, however it is cut', () => {
    const good = file(tensor('a', Float32Array.of(1, 2)))
    const claim = Buffer.from(good)
    claim.writeBigUInt64LE(BigInt(MAX_SCANNED_HEADER_BYTES + 1))
    const cases: [Buffer, string][] = [
      [Buffer.alloc(0), 'TRUNCATED'],
      [good.subarray(0, 7), 'TRUNCATED'],
      [good.subarray(0, 30), 'TRUNCATED'],
      [good.subarray(0, -1), 'TRUNCATED'],
      [Buffer.concat([good, Buffer.of(0)]), 'MALFORMED'],
      [claim, 'MALFORMED'],
      [Buffer.alloc(1000, 0xff), 'MALFORMED'],
      [Buffer.from('{"a":1}'.repeat(40)), 'MALFORMED'],
    ]
    for (const [bytes, reason] of cases) {
      for (const pieces of [[bytes], [...bytes].map((byte) => Buffer.of(byte))]) {
        expect(summarize(...pieces)).toMatchObject({ kind: 'unreadable', rejection: { reason } })
      }
    }
  })

  it('holds a file without tensors', () => {
    expect(summarize(file())).toMatchObject({ kind: 'tensors', tensors: [] })
  })
})

describe('a summary as text', () => {
  it('is the same afterwards, with every digit and any name', () => {
    const values = threeTensors()
    values[2][3] = Number.NaN
    const names = file(tensor('\u0000\u{1f9f5}"', Float32Array.of(0.1)))
    for (const summary of [summarize(fileOf(values)), summarize(names), summarize(Buffer.of(1))]) {
      expect(parseSummary(summaryText(summary))).toEqual(summary)
    }
  })

  it('is nothing when another build wrote it, or nobody', () => {
    const text = summaryText(summarize(file()))
    for (const other of [
      text.replace('summary/2', 'summary/1'),
      text.replace('"bytes"', '"size"'),
      text.slice(1),
      '',
    ]) {
      expect(parseSummary(other)).toBeUndefined()
    }
  })
})
