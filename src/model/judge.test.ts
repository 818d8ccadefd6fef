import { describe, expect, it } from 'vitest'
import { summaryOfPieces } from '../../test/inspect-delta.ts'
import { F32 } from '../core/codec.ts'
import { judgeDelta } from './judge.ts'
import { encodeHeader } from './safetensors.ts'
import type { Summary, TensorSummary } from './summary.ts'
import type { TensorSpec } from './tensor.ts'

const SPECS: readonly TensorSpec[] = [
  { name: 'a', dtype: 'F32', shape: [2, 3] },
  { name: 'b', dtype: 'F32', shape: [1] },
]

function tensor(name: string, facts: Partial<TensorSummary> = {}): TensorSummary {
  return { name, dtype: 'F32', shape: [1], squares: 0, nonFinite: null, ...facts }
}

const A = tensor('a', { shape: [2, 3], squares: 9 })
const B = tensor('b', { squares: 16 })

function summary(tensors: readonly TensorSummary[], headerBytes = 128): Summary {
  return { kind: 'tensors', bytes: 156, headerBytes, tensors }
}

const judge = (tensors: readonly TensorSummary[], maxNorm = 0) => judgeDelta(summary(tensors), SPECS, F32, { maxNorm })

describe('judgeDelta', () => {
  it('gives the norm over all tensors, and the size', () => {
    expect(judge([A, B])).toEqual({ ok: true, value: { norm: 5, bytes: 156 } })
  })

  it('holds the norm to its limit', () => {
    expect(judge([A, B], 5).ok).toBe(true)
    expect(judge([A, B], 4.999)).toMatchObject({ ok: false, rejection: { reason: 'NORM_TOO_LARGE' } })
  })

  it.each([
    ['MISSING_TENSOR', [B]],
    ['EXTRA_TENSOR', [A, B, tensor('x')]],
    ['SHAPE_MISMATCH', [tensor('a', { shape: [3, 2] }), B]],
    ['SHAPE_MISMATCH', [tensor('a', { shape: [6] }), B]],
    ['DTYPE_MISMATCH', [tensor('a', { shape: [2, 3], dtype: 'I32', squares: null }), B]],
    ['DTYPE_MISMATCH', [tensor('a', { shape: [2, 3], dtype: 'BF16' }), B]],
  ] as const)('%s', (reason, tensors) => {
    expect(judge(tensors)).toMatchObject({ ok: false, rejection: { reason } })
  })

  it('names the tensor and the index of the first value that is not finite, in file order', () => {
    const at = (index: number, value: 'NaN' | '-Infinity') => ({ squares: null, nonFinite: { index, value } })
    const verdict = judge([tensor('b', at(0, '-Infinity')), tensor('a', { shape: [2, 3], ...at(4, 'NaN') })], 1)
    expect(verdict).toMatchObject({
      ok: false,
      rejection: { reason: 'NON_FINITE', detail: 'the tensor "b" holds -Infinity at flat index 0' },
    })
  })

  it('passes on why a file could not be read', () => {
    const rejection = { reason: 'TRUNCATED', detail: 'the file ends inside its header' } as const
    expect(judgeDelta({ kind: 'unreadable', rejection }, SPECS, F32, { maxNorm: 0 })).toEqual({ ok: false, rejection })
  })

  it('does not take a header that is far longer than the model needs', () => {
    const data = Buffer.from(new Float32Array(7).buffer)
    const withNote = (length: number) => {
      const noted = summaryOfPieces([encodeHeader(SPECS, { note: 'x'.repeat(length) }), data])
      return judgeDelta(noted, SPECS, F32, { maxNorm: 0 })
    }
    expect(withNote(100_000).ok).toBe(true)
    expect(withNote(1_000_000)).toMatchObject({ ok: false, rejection: { reason: 'MALFORMED' } })
  })

  it('answers arguments that make no sense with a code', () => {
    const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    for (const maxNorm of [Number.NaN, -1, Number.POSITIVE_INFINITY])
      expect(() => judge([A, B], maxNorm)).toThrow(invalid)
    const foreign = [{ name: 'a', dtype: 'F16', shape: [1] }] as const
    expect(() => judgeDelta(summary([]), foreign, F32, { maxNorm: 0 })).toThrow(invalid)
  })
})
