import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { F32 } from '../core/codec.ts'
import { inspectDelta } from './inspect.ts'
import { Inspector, inspectInWorker } from './inspector.ts'
import { type TensorData, writeSafetensors } from './safetensors.ts'

const directory = mkdtempSync(join(tmpdir(), 'inspect-'))
afterAll(() => rmSync(directory, { recursive: true }))
const path = join(directory, 'delta.safetensors')

function tensor(name: string, data: Float32Array, shape: readonly number[] = [data.length]): TensorData {
  return { name, dtype: 'F32', shape, data }
}

/** More than one block in `b`, with boundaries of tensors inside blocks. */
function delta(): [TensorData, TensorData, TensorData] {
  const fill = (length: number, offset: number) =>
    Float32Array.from({ length }, (_, i) => Math.fround((i + offset) % 7) - 3)
  return [tensor('a', fill(1001, 0)), tensor('b', fill(300_003, 1)), tensor('c', fill(77, 2), [7, 11])]
}

describe('inspectDelta', () => {
  it('gives the norm, added in file order, and the size', async () => {
    const tensors = delta()
    await writeSafetensors(path, tensors)
    let sum = 0
    for (const { data } of tensors) for (const value of data) sum += value * value
    const verdict = await inspectDelta(path, tensors, { maxNorm: 0 })
    expect(verdict).toMatchObject({ ok: true, value: { norm: Math.sqrt(sum) } })
    expect(verdict.ok && verdict.value.bytes).toBeGreaterThan(4 * (1001 + 300_003 + 77))
  })

  it('does not depend on how long the header is', async () => {
    const values = Float32Array.of(3, 4)
    const json = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    for (let padding = 0; padding < 8; padding += 1) {
      const header = Buffer.from(json.padEnd(json.length + padding))
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(header.byteLength))
      writeFileSync(path, Buffer.concat([length, header, Buffer.from(values.buffer)]))
      const verdict = await inspectDelta(path, [tensor('a', values)], { maxNorm: 5 })
      expect(verdict).toMatchObject({ ok: true, value: { norm: 5 } })
    }
  })

  it('names the tensor and the index of the first value that is not finite', async () => {
    const place = fc.oneof(
      fc.tuple(fc.constant(0), fc.nat({ max: 1000 })),
      fc.tuple(fc.constant(1), fc.constantFrom(0, 1, 261_142, 261_143, 261_144, 300_002)),
      fc.tuple(fc.constant(2), fc.nat({ max: 76 })),
    )
    const bad = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)
    await fc.assert(
      fc.asyncProperty(place, bad, async ([which, index], value) => {
        const tensors = delta()
        const target = tensors[which]
        if (!target) throw new Error('no such tensor')
        target.data[index] = value
        await writeSafetensors(path, tensors)
        const verdict = await inspectDelta(path, tensors, { maxNorm: 0 })
        if (verdict.ok) throw new Error('accepted')
        expect(verdict.rejection.reason).toBe('NON_FINITE')
        expect(verdict.rejection.detail).toContain(`"${target.name}"`)
        expect(verdict.rejection.detail).toMatch(new RegExp(`index ${index}$`))
      }),
      { seed: 5, numRuns: 25 },
    )
  })

  it('takes the largest finite values without calling them infinite', async () => {
    const largest = tensor('a', new Float32Array(1000).fill(3.4028234663852886e38))
    await writeSafetensors(path, [largest])
    expect((await inspectDelta(path, [largest], { maxNorm: 0 })).ok).toBe(true)
  })

  it('holds the norm to its limit', async () => {
    const tensors = [tensor('a', Float32Array.of(3, 4))]
    await writeSafetensors(path, tensors)
    expect((await inspectDelta(path, tensors, { maxNorm: 5 })).ok).toBe(true)
    const over = await inspectDelta(path, tensors, { maxNorm: 4.999 })
    expect(over).toMatchObject({ ok: false, rejection: { reason: 'NORM_TOO_LARGE' } })
  })

  it.each([
    ['MISSING_TENSOR', [tensor('b', Float32Array.of(1))]],
    [
      'EXTRA_TENSOR',
      [tensor('a', new Float32Array(6), [2, 3]), tensor('b', Float32Array.of(1)), tensor('x', Float32Array.of(1))],
    ],
    ['SHAPE_MISMATCH', [tensor('a', new Float32Array(6), [3, 2]), tensor('b', Float32Array.of(1))]],
    ['SHAPE_MISMATCH', [tensor('a', new Float32Array(6)), tensor('b', Float32Array.of(1))]],
    [
      'DTYPE_MISMATCH',
      [{ name: 'a', dtype: 'I32', shape: [2, 3], data: new Uint8Array(24) }, tensor('b', Float32Array.of(1))],
    ],
  ] as const)('%s', async (reason, tensors) => {
    const expected = [tensor('a', new Float32Array(6), [2, 3]), tensor('b', Float32Array.of(1))]
    await writeSafetensors(path, tensors)
    expect(await inspectDelta(path, expected, { maxNorm: 0 })).toMatchObject({ ok: false, rejection: { reason } })
  })

  it('does not read a header that is far longer than the model needs', async () => {
    const values = tensor('a', Float32Array.of(3, 4))
    await writeSafetensors(path, [values], { note: 'x'.repeat(100_000) })
    expect((await inspectDelta(path, [values], { maxNorm: 0 })).ok).toBe(true)
    await writeSafetensors(path, [values], { note: 'x'.repeat(1_000_000) })
    const verdict = await inspectDelta(path, [values], { maxNorm: 0 })
    expect(verdict).toMatchObject({ ok: false, rejection: { reason: 'MALFORMED' } })
  })

  it('answers arguments and files that make no sense with codes', async () => {
    await expect(inspectDelta(path, [], { maxNorm: Number.NaN })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(inspectDelta(path, [], { maxNorm: -1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(inspectDelta(`${path}.no`, [], { maxNorm: 0 })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    writeFileSync(path, 'junk')
    expect(await inspectDelta(path, [], { maxNorm: 0 })).toMatchObject({
      ok: false,
      rejection: { reason: 'TRUNCATED' },
    })
  })
})

describe('inspectInWorker', () => {
  it('gives what inspectDelta gives, several at a time', async () => {
    const tensors = delta()
    await writeSafetensors(path, tensors)
    const specs = tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
    const expected = await inspectDelta(path, specs, { maxNorm: 0 })
    const verdicts = await Promise.all([1, 2, 3].map(() => inspectInWorker(path, specs, F32, { maxNorm: 0 })))
    expect(verdicts).toEqual([expected, expected, expected])
    const missing = inspectInWorker(`${path}.no`, specs, F32, { maxNorm: 0 })
    await expect(missing).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('fails what it was doing when closed, and starts again', async () => {
    const inspector = new Inspector()
    await writeSafetensors(path, [])
    const interrupted = inspector.inspect(path, [], F32, { maxNorm: 0 })
    const outcome = expect(interrupted).rejects.toMatchObject({ code: 'INTERNAL' })
    await inspector.close()
    await outcome
    expect((await inspector.inspect(path, [], F32, { maxNorm: 0 })).ok).toBe(true)
    await inspector.close()
  })
})
