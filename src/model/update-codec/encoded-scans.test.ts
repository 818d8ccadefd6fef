import { readFile, truncate } from 'node:fs/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inspectDelta, summaryOfPieces } from '../../../test/inspect-delta.ts'
import { TensorFiles } from '../../../test/tensor-files.ts'
import { parseCodecText } from '../../core/codec.ts'
import { parseHeader, type TensorData, writeSafetensors } from '../safetensors.ts'
import { parseSummary, summaryText } from '../summary.ts'
import type { TensorSpec } from '../tensor.ts'
import { encodeTensor } from './encode-tensor.ts'
import { checkEncoded, encodedMetadata, encodedSpecs } from './encoded-layout.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

const MODEL: TensorSpec[] = [
  { name: 'a', dtype: 'F32', shape: [5, 30] },
  { name: 'b', dtype: 'F32', shape: [70_000] },
]
const BF16 = parseCodecText('bf16')
const INT8 = parseCodecText('int8:block=64')
const TOPK = parseCodecText('topk:fraction=0.1')

type Spoil = (parts: Map<string, ArrayBufferView>) => void

/** An encoded update, spoiled before it is written. */
async function written(codec: typeof BF16, spoil: Spoil = () => undefined, metadata = encodedMetadata(codec)) {
  const parts = new Map(
    MODEL.flatMap(({ name, shape }) => {
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(j))
      return [...encodeTensor(codec, name, values).parts]
    }),
  )
  spoil(parts)
  const data = encodedSpecs(codec, MODEL).flatMap((spec): TensorData[] => {
    const part = parts.get(spec.name)
    return part === undefined ? [] : [{ ...spec, data: new Uint8Array(part.buffer, part.byteOffset, part.byteLength) }]
  })
  const path = files.fresh('encoded')
  await writeSafetensors(path, data, metadata)
  return path
}

async function refusal(codec: typeof BF16, path: string): Promise<string> {
  const verdict = await inspectDelta(path, MODEL, { maxNorm: 0 }, codec)
  return verdict.ok ? 'accepted' : `${verdict.rejection.reason}: ${verdict.rejection.detail}`
}

const set = (name: string, index: number, value: number) => (parts: Map<string, ArrayBufferView>) => {
  const part = parts.get(name)
  if (
    !(
      part instanceof Uint16Array ||
      part instanceof Uint32Array ||
      part instanceof Int8Array ||
      part instanceof Float32Array
    )
  ) {
    throw new Error(`there is no ${name}`)
  }
  part[index] = value
}

describe('an encoded update', () => {
  it.each([BF16, INT8, TOPK])('takes what the encoder writes: $name', async (codec) => {
    expect(await refusal(codec, await written(codec))).toBe('accepted')
  })

  it.each<[string, typeof BF16, Spoil]>([
    ['NON_FINITE: the tensor "b" holds NaN at flat index 69999', BF16, set('b', 69_999, 0x7fc0)],
    ['NON_FINITE: the tensor "a" holds NaN at flat index 3', BF16, set('a', 3, 0xff81)],
    ['NON_FINITE: the tensor "b" holds -Infinity at flat index 40000', BF16, set('b', 40_000, 0xff80)],
    ['NON_FINITE: the tensor "scales.a" holds NaN', INT8, set('scales.a', 1, Number.NaN)],
    ['NON_FINITE: the tensor "scales.b" holds Infinity', INT8, set('scales.b', 1093, Number.POSITIVE_INFINITY)],
    ['MALFORMED: the tensor "scales.b" holds -0.5', INT8, set('scales.b', 0, -0.5)],
    ['MALFORMED: the tensor "scales.b" holds 0', INT8, set('scales.b', 0, -0)],
    ['MALFORMED: the tensor "scales.a" holds 1.40', INT8, set('scales.a', 0, 1e-45)],
    ['MALFORMED: the tensor "scales.a" holds 3.39', INT8, set('scales.a', 0, 3.4e38)],
    ['MALFORMED: the tensor "scales.a" holds 0.1', INT8, set('scales.a', 0, 0.1)],
    ['MALFORMED: the tensor "values.b" holds -128 at flat index 69999', INT8, set('values.b', 69_999, -128)],
    ['MALFORMED: the tensor "indices.a" holds the index 150, outside', TOPK, set('indices.a', 14, 150)],
    ['MALFORMED: the tensor "indices.b" holds the index 4294967295, outside', TOPK, set('indices.b', 6999, 0xffffffff)],
    ['MALFORMED: the tensor "indices.a" holds the index 0 after', TOPK, set('indices.a', 3, 0)],
    [
      'NON_FINITE: the tensor "values.b" holds Infinity at flat index 9',
      TOPK,
      set('values.b', 9, Number.POSITIVE_INFINITY),
    ],
    ['MISSING_TENSOR', TOPK, (parts) => parts.delete('indices.a')],
    ['MISSING_TENSOR', INT8, (parts) => parts.delete('scales.b')],
  ])('refuses %s', async (reason, codec, spoil) => {
    expect(await refusal(codec, await written(codec, spoil))).toContain(reason)
  })

  it('refuses an index that is there twice', async () => {
    const twice: Spoil = (parts) => {
      const indices = parts.get('indices.b')
      if (indices instanceof Uint32Array) indices[5] = indices[4]!
    }
    expect(await refusal(TOPK, await written(TOPK, twice))).toContain('MALFORMED')
  })

  it('refuses another codec, or other parameters, by what the file says of itself', async () => {
    expect(await refusal(INT8, await written(BF16))).toContain('CODEC_MISMATCH')
    expect(await refusal(parseCodecText('int8:block=128'), await written(INT8))).toContain('CODEC_MISMATCH')
    expect(await refusal(BF16, await written(BF16, undefined, {}))).toContain('CODEC_MISMATCH')
    expect(await refusal(BF16, await written(TOPK, undefined, encodedMetadata(BF16)))).toContain('MISSING_TENSOR')
  })

  it('refuses a file that was cut off anywhere', async () => {
    const whole = await written(TOPK)
    const { byteLength } = await readFile(whole)
    for (const size of [0, 7, 100, byteLength - 40_000, byteLength - 1]) {
      const path = await written(TOPK)
      await truncate(path, size)
      expect(await refusal(TOPK, path)).toContain('TRUNCATED')
    }
  })

  it('does not read a header that is far longer than the codec needs', async () => {
    const path = await written(BF16, undefined, { ...encodedMetadata(BF16), note: 'x'.repeat(1_000_000) })
    expect(await refusal(BF16, path)).toContain('MALFORMED')
  })

  it('refuses tensors that are not in order of name', async () => {
    const path = await written(TOPK)
    const header = parseHeader(await readFile(path), (await readFile(path)).byteLength)
    if (!header.ok) throw new Error(header.rejection.detail)
    const reversed = new Map([...header.value.tensors].reverse())
    const verdict = checkEncoded({ tensors: reversed, codec: 'topk:fraction=0.1' }, TOPK, MODEL)
    expect(verdict).toMatchObject({ ok: false, rejection: { reason: 'MALFORMED' } })
  })
})

describe('encodedScans', () => {
  it.each([BF16, INT8, TOPK])('find the same however the bytes are cut: $name', async (codec) => {
    const bytes = await readFile(await written(codec))
    const whole = summaryOfPieces([bytes])
    expect(parseSummary(summaryText(whole))).toEqual(whole)
    const sizes = fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(sizes, (pattern) => {
        fc.pre(Math.max(...pattern) > 100)
        const pieces: Buffer[] = []
        for (let at = 0; at < bytes.byteLength; at += pieces.at(-1)!.byteLength) {
          pieces.push(bytes.subarray(at, at + pattern[pieces.length % pattern.length]!))
        }
        expect(summaryOfPieces(pieces)).toEqual(whole)
      }),
      { seed: 6, numRuns: 20 },
    )
  })

  it('keep no more scales than a model can have, and want them before their steps', async () => {
    const data = (name: string, dtype: 'F32' | 'I8', count: number): TensorData => {
      return { name, dtype, shape: [count], data: new Uint8Array(count * (dtype === 'F32' ? 4 : 1)) }
    }
    const factsOf = async (...tensors: TensorData[]) => {
      const path = files.fresh('odd')
      await writeSafetensors(path, tensors, encodedMetadata(INT8))
      const summary = summaryOfPieces([await readFile(path)])
      return summary.kind === 'tensors' ? summary.tensors.map(({ malformed }) => malformed) : []
    }
    expect(await factsOf(data('scales.a', 'F32', 2 ** 22 + 1))).toEqual(['more scales than a model can have'])
    expect(await factsOf(data('values.a', 'I8', 64))).toEqual(['a step at flat index 0 that has no scale'])
  })
})
