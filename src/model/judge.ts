import type { Codec } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { quoted } from './header-text.ts'
import { encodeHeader, MAX_HEADER_BYTES } from './safetensors-header.ts'
import type { Summary, TensorSummary } from './summary.ts'
import { elementCount, type TensorSpec } from './tensor.ts'
import { checkEncoded, encodedSpecs, INDICES } from './update-codec/encoded-layout.ts'

/** `maxNorm`: largest L2 norm over all tensors together; 0 sets no limit. */
export type InspectionLimits = { readonly maxNorm: number }

/** `norm`: L2 norm over all tensors together; `bytes`: size of the file. */
export type Inspection = { readonly norm: number; readonly bytes: number }

/** Room for metadata beside the tensors of a small model. */
const HEADER_SLACK_BYTES = 2 ** 18

/**
 * Decides whether a file is a usable delta for a model in the codec of its run, from what was learned when it was read: well formed,
 * exactly the expected tensors, finite values, bounded norm. The norm is that of the decoded values: the square root of the
 * sums of squares of the tensors, added in file order.
 * @param expected the model's F32 tensors
 * @returns rejection CODEC_MISMATCH, MALFORMED, TRUNCATED, MISSING_TENSOR, EXTRA_TENSOR, DTYPE_MISMATCH, SHAPE_MISMATCH,
 *   NON_FINITE (naming the tensor and the flat index in it) or NORM_TOO_LARGE
 * @throws TapestryError INVALID_ARGUMENT for a bad limit or an expected dtype other than F32
 */
export function judgeDelta(
  summary: Summary,
  expected: readonly TensorSpec[],
  codec: Codec,
  limits: InspectionLimits,
): Verdict<Inspection> {
  checkArguments(expected, limits)
  if (summary.kind === 'unreadable') return { ok: false, rejection: summary.rejection }
  const room = headerRoom(encodedSpecs(codec, expected))
  if (summary.headerBytes > room) {
    return reject('MALFORMED', `the header takes ${summary.headerBytes} bytes; at most ${room} are read`)
  }
  const tensors = new Map(summary.tensors.map((tensor) => [tensor.name, tensor]))
  const schema = checkEncoded({ tensors, codec: summary.codec }, codec, expected)
  if (!schema.ok) return schema
  const places = checkIndices(tensors, expected)
  if (!places.ok) return places
  const squares = sumOfSquares(summary.tensors)
  return squares.ok ? judgeNorm(Math.sqrt(squares.value), summary.bytes, limits) : squares
}

function checkArguments(expected: readonly TensorSpec[], { maxNorm }: InspectionLimits): void {
  if (!Number.isFinite(maxNorm) || maxNorm < 0) {
    throw new TapestryError('INVALID_ARGUMENT', `not a limit for a norm: ${maxNorm}`)
  }
  const foreign = expected.find(({ dtype }) => dtype !== 'F32')
  if (foreign) throw new TapestryError('INVALID_ARGUMENT', `a delta is F32, not ${foreign.dtype}`)
}

/** The longest header worth taking: other spellings and some metadata fit. */
function headerRoom(expected: readonly TensorSpec[]): number {
  return Math.min(MAX_HEADER_BYTES, HEADER_SLACK_BYTES + 4 * encodeHeader(expected).byteLength)
}

/** Indices lie inside the tensors that they are of. */
function checkIndices(tensors: ReadonlyMap<string, TensorSummary>, expected: readonly TensorSpec[]): Verdict<void> {
  for (const { name, shape } of expected) {
    const last = tensors.get(INDICES + name)?.lastIndex
    if (last === undefined || last < elementCount(shape)) continue
    return reject('MALFORMED', `the tensor ${quoted(INDICES + name)} holds the index ${last}, outside of the tensor`)
  }
  return accept(undefined)
}

function sumOfSquares(tensors: readonly TensorSummary[]): Verdict<number> {
  let sum = 0
  for (const { name, squares, nonFinite, malformed } of tensors) {
    if (malformed !== undefined) return reject('MALFORMED', `the tensor ${quoted(name)} holds ${malformed}`)
    if (nonFinite !== null) {
      const detail = `the tensor ${quoted(name)} holds ${nonFinite.value} at flat index ${nonFinite.index}`
      return reject('NON_FINITE', detail)
    }
    if (squares === null) throw new TapestryError('INTERNAL', `nobody looked into the tensor ${quoted(name)}`)
    sum += squares
  }
  return accept(sum)
}

function judgeNorm(norm: number, bytes: number, { maxNorm }: InspectionLimits): Verdict<Inspection> {
  if (maxNorm > 0 && norm > maxNorm) return reject('NORM_TOO_LARGE', `the norm is ${norm}, the limit ${maxNorm}`)
  return accept({ norm, bytes })
}
