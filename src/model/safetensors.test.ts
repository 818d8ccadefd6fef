import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { encodeHeader, parseHeader, readSafetensors, type TensorData, writeSafetensors } from './safetensors.ts'
import { DTYPE_BYTES, type Dtype, elementCount } from './tensor.ts'

const directory = mkdtempSync(join(tmpdir(), 'safetensors-'))
afterAll(() => rmSync(directory, { recursive: true }))

const VECTORS = new URL('../../test/vectors/safetensors/', import.meta.url)
const vectorSchema = z.strictObject({
  name: z.string(),
  about: z.string(),
  hex: z.string(),
  reason: z.enum(['MALFORMED', 'TRUNCATED']).nullable(),
})
const vectors = readdirSync(VECTORS).map((file) =>
  vectorSchema.parse(JSON.parse(readFileSync(new URL(file, VECTORS), 'utf8'))),
)

const dtypes = Object.keys(DTYPE_BYTES).filter((key): key is Dtype => key in DTYPE_BYTES)
const tensorArbitrary = fc
  .record({
    name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
  })
  .filter(({ name }) => name !== '__proto__' && name !== '__metadata__')
const tensorsArbitrary = fc.uniqueArray(tensorArbitrary, { selector: ({ name }) => name, maxLength: 6 })

function fileOf(tensors: readonly { name: string; dtype: Dtype; shape: number[] }[]): Uint8Array {
  const bytes = tensors.reduce((sum, { dtype, shape }) => sum + elementCount(shape) * DTYPE_BYTES[dtype], 0)
  return Buffer.concat([encodeHeader(tensors), new Uint8Array(bytes)])
}

describe('parseHeader', () => {
  it.each(vectors)('$name: $about', ({ hex, reason }) => {
    const bytes = Buffer.from(hex, 'hex')
    const verdict = parseHeader(bytes, bytes.byteLength)
    expect(verdict.ok ? null : verdict.rejection.reason).toBe(reason)
  })

  it('has vectors to iterate', () => {
    expect(vectors.length).toBeGreaterThan(70)
  })

  it('lists tensors in file order with positions in the file', () => {
    const vector = vectors.find(({ name }) => name === 'ok-file-order')
    const bytes = Buffer.from(vector?.hex ?? '', 'hex')
    const verdict = parseHeader(bytes, bytes.byteLength)
    if (!verdict.ok) throw new Error(verdict.rejection.detail)
    const { tensors, dataBegin } = verdict.value
    expect([...tensors.keys()]).toEqual(['b', 'a'])
    expect(tensors.get('a')).toMatchObject({ begin: dataBegin + 4, end: dataBegin + 8 })
  })

  it('needs the whole header in the prefix', () => {
    const bytes = fileOf([{ name: 'a', dtype: 'F32', shape: [2] }])
    const verdict = parseHeader(bytes.subarray(0, 20), bytes.byteLength)
    expect(verdict).toMatchObject({ ok: false, rejection: { reason: 'TRUNCATED' } })
  })

  it('reads a header that lies anywhere in a larger buffer', () => {
    const bytes = fileOf([{ name: 'a', dtype: 'F32', shape: [2] }])
    const shifted = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3)
    expect(parseHeader(shifted, bytes.byteLength).ok).toBe(true)
  })

  it('parses what encodeHeader writes, whatever the tensors', () => {
    fc.assert(
      fc.property(tensorsArbitrary, (tensors) => {
        const file = fileOf(tensors)
        const verdict = parseHeader(file, file.byteLength)
        if (!verdict.ok) throw new Error(verdict.rejection.detail)
        for (const spec of tensors) expect(verdict.value.tensors.get(spec.name)).toMatchObject(spec)
        expect(verdict.value.tensors.size).toBe(tensors.length)
        expect(verdict.value.dataBegin % 8).toBe(0)
      }),
      { seed: 1 },
    )
  })

  it('never accepts another length than the one the header states', () => {
    fc.assert(
      fc.property(tensorsArbitrary, fc.integer({ min: -40, max: 40 }), (tensors, change) => {
        const file = fileOf(tensors)
        const verdict = parseHeader(file, Math.max(0, file.byteLength + change))
        expect(verdict.ok).toBe(change === 0)
      }),
      { seed: 2 },
    )
  })

  it('answers corruption with a verdict, and anything it accepts fills the file exactly', () => {
    const edit = fc.record({ at: fc.nat({ max: 400 }), byte: fc.nat({ max: 255 }) })
    fc.assert(
      fc.property(tensorsArbitrary, fc.array(edit, { minLength: 1, maxLength: 4 }), (tensors, edits) => {
        const file = fileOf(tensors)
        for (const { at, byte } of edits) file[at % file.byteLength] = byte
        const verdict = parseHeader(file, file.byteLength)
        if (!verdict.ok) {
          expect(['MALFORMED', 'TRUNCATED']).toContain(verdict.rejection.reason)
          return
        }
        const ends = [...verdict.value.tensors.values()].map(({ end }) => end)
        expect(Math.max(verdict.value.dataBegin, ...ends)).toBe(file.byteLength)
      }),
      { seed: 3, numRuns: 2000 },
    )
  })
})

describe('encodeHeader', () => {
  it('gives the same bytes in whatever order tensors come', () => {
    const a = { name: 'a', dtype: 'F32', shape: [2] } as const
    const b = { name: 'b', dtype: 'U8', shape: [3] } as const
    expect(encodeHeader([b, a], { y: '1', x: '2' })).toEqual(encodeHeader([a, b], { x: '2', y: '1' }))
  })

  it('is canonical: sorted, contiguous, padded to 8', () => {
    const header = encodeHeader([
      { name: 'b', dtype: 'F32', shape: [] },
      { name: 'a', dtype: 'U8', shape: [3] },
    ])
    const text = new TextDecoder().decode(header.subarray(8))
    expect(header.byteLength % 8).toBe(0)
    expect(text.trimEnd()).toBe(
      '{"a":{"data_offsets":[0,3],"dtype":"U8","shape":[3]},"b":{"data_offsets":[3,7],"dtype":"F32","shape":[]}}',
    )
  })

  it.each([
    ['an empty name', { name: '', dtype: 'F32', shape: [1] }],
    ['__proto__', { name: '__proto__', dtype: 'F32', shape: [1] }],
    ['__metadata__', { name: '__metadata__', dtype: 'F32', shape: [1] }],
    ['a negative size', { name: 'a', dtype: 'F32', shape: [-1] }],
    ['a fraction', { name: 'a', dtype: 'F32', shape: [0.5] }],
    ['an overflow', { name: 'a', dtype: 'F32', shape: [2 ** 30, 2 ** 30] }],
  ] as const)('refuses %s', (_, spec) => {
    expect(() => encodeHeader([spec])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  it('refuses a repeated name', () => {
    const spec = { name: 'a', dtype: 'F32', shape: [1] } as const
    expect(() => encodeHeader([spec, spec])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('files', () => {
  const path = (name: string) => join(directory, name)

  it('come back as they were written, bit for bit', async () => {
    const floats = fc.float32Array({ maxLength: 20, noNaN: false })
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 5 }), floats), { selector: ([name]) => name }),
        async (entries) => {
          const tensors = entries.map(
            ([name, data]): TensorData => ({ name, dtype: 'F32', shape: [data.length], data }),
          )
          await writeSafetensors(path('round-trip'), tensors, { format: 'pt' })
          const read = await readSafetensors(path('round-trip'))
          for (const [name, data] of entries) {
            expect(Buffer.from(read.get(name)?.data.buffer ?? new ArrayBuffer(0))).toEqual(
              Buffer.from(data.buffer, data.byteOffset, data.byteLength),
            )
          }
          expect(read.size).toBe(entries.length)
        },
      ),
      { seed: 4, numRuns: 30 },
    )
  })

  it('leave nothing behind when writing fails, and keep the old file', async () => {
    const tensor: TensorData = { name: 'a', dtype: 'F32', shape: [1], data: Float32Array.of(7) }
    await writeSafetensors(path('kept'), [tensor])
    const before = readdirSync(directory)
    const short = writeSafetensors(path('kept'), [{ ...tensor, shape: [2] }])
    await expect(short).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(readdirSync(directory)).toEqual(before)
    expect((await readSafetensors(path('kept'))).get('a')?.data).toEqual(Float32Array.of(7))
  })

  it('are refused with a code when malformed, of another dtype, or missing', async () => {
    writeFileSync(path('malformed'), 'not a model')
    await expect(readSafetensors(path('malformed'))).rejects.toMatchObject({ code: 'DATA_INVALID' })
    await writeSafetensors(path('bytes'), [{ name: 'a', dtype: 'U8', shape: [2], data: Uint8Array.of(1, 2) }])
    await expect(readSafetensors(path('bytes'))).rejects.toMatchObject({ code: 'DATA_INVALID' })
    await expect(readSafetensors(path('absent'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(readSafetensors(directory)).rejects.toMatchObject({ code: 'DATA_INVALID' })
    const nowhere = writeSafetensors(path('no/where'), [])
    await expect(nowhere).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('do not take floats for another dtype', async () => {
    const write = writeSafetensors(path('wrong'), [{ name: 'a', dtype: 'I32', shape: [1], data: Float32Array.of(1) }])
    await expect(write).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
