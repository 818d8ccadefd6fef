import { type FileHandle, open } from 'node:fs/promises'
import { TapestryError } from '../core/error.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { quoted } from './header-text.ts'
import { readFully, readHeader } from './safetensors.ts'
import { encodeHeader, MAX_HEADER_BYTES, type SafetensorsHeader } from './safetensors-header.ts'
import { checkTensors } from './schema.ts'
import { DTYPE_BYTES, type TensorSpec } from './tensor.ts'
import { fileError } from './whole-file.ts'

/** `maxNorm`: largest L2 norm over all tensors together; 0 sets no limit. */
export type InspectionLimits = { readonly maxNorm: number }

/** `norm`: L2 norm over all tensors together; `bytes`: size of the file. */
export type Inspection = { readonly norm: number; readonly bytes: number }

/** The only memory an inspection takes besides the header, whatever the size of the model. */
const BLOCK_BYTES = 2 ** 20
/** Room for metadata beside the tensors of a small model. */
const HEADER_SLACK_BYTES = 2 ** 18

/**
 * Decides whether a file is a usable F32 delta for a model: well formed, exactly the expected
 * tensors, finite values, bounded norm. Streams the file in constant memory.
 * The norm is the square root of the sum of squares, added in 64-bit floats in file order.
 * @returns rejection MALFORMED, TRUNCATED, MISSING_TENSOR, EXTRA_TENSOR, DTYPE_MISMATCH, SHAPE_MISMATCH,
 *   NON_FINITE (naming the tensor and the flat index in it) or NORM_TOO_LARGE
 * @throws TapestryError NOT_FOUND for the file, INVALID_ARGUMENT for a bad limit or an expected dtype other than F32
 */
export async function inspectDelta(
  path: string,
  expected: readonly TensorSpec[],
  limits: InspectionLimits,
): Promise<Verdict<Inspection>> {
  checkArguments(expected, limits)
  try {
    const file = await open(path, 'r')
    try {
      return await inspectOpened(file, expected, limits)
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
}

function checkArguments(expected: readonly TensorSpec[], { maxNorm }: InspectionLimits): void {
  if (!Number.isFinite(maxNorm) || maxNorm < 0) {
    throw new TapestryError('INVALID_ARGUMENT', `not a limit for a norm: ${maxNorm}`)
  }
  const foreign = expected.find(({ dtype }) => dtype !== 'F32')
  if (foreign) throw new TapestryError('INVALID_ARGUMENT', `a delta is F32, not ${foreign.dtype}`)
}

async function inspectOpened(
  file: FileHandle,
  expected: readonly TensorSpec[],
  { maxNorm }: InspectionLimits,
): Promise<Verdict<Inspection>> {
  const header = await readHeader(file, headerRoom(expected))
  if (!header.ok) return header
  const schema = checkTensors(header.value, expected)
  if (!schema.ok) return schema
  const squares = await sumOfSquares(file, header.value)
  if (!squares.ok) return squares
  const norm = Math.sqrt(squares.value)
  if (maxNorm > 0 && norm > maxNorm) return reject('NORM_TOO_LARGE', `the norm is ${norm}, the limit ${maxNorm}`)
  return accept({ norm, bytes: header.value.fileSize })
}

/**
 * The longest header worth reading: other spellings and some metadata fit, and a stranger's header
 * cannot take the seconds and the memory that 25 MB of JSON do.
 */
function headerRoom(expected: readonly TensorSpec[]): number {
  return Math.min(MAX_HEADER_BYTES, HEADER_SLACK_BYTES + 4 * encodeHeader(expected).byteLength)
}

/**
 * Blocks are counted from where the data begins, so each holds whole elements wherever tensors
 * begin and whatever the length of the header.
 */
async function sumOfSquares(file: FileHandle, header: SafetensorsHeader): Promise<Verdict<number>> {
  const { dataBegin, fileSize } = header
  const block = new Uint8Array(BLOCK_BYTES)
  let sum = 0
  for (let position = dataBegin; position < fileSize; position += BLOCK_BYTES) {
    const bytes = block.subarray(0, Math.min(BLOCK_BYTES, fileSize - position))
    if (!(await readFully(file, bytes, position))) return reject('TRUNCATED', 'the file ends inside its data')
    const values = new Float32Array(block.buffer, 0, bytes.byteLength / DTYPE_BYTES.F32)
    sum = addSquares(sum, values)
    // A square of a finite F32 is below 2^256, so only NaN or an infinity can take the sum out of range.
    if (!Number.isFinite(sum)) return nonFinite(header, position, values)
  }
  return accept(sum)
}

function addSquares(start: number, values: Float32Array): number {
  let sum = start
  for (const value of values) sum += value * value
  return sum
}

function nonFinite(header: SafetensorsHeader, position: number, values: Float32Array) {
  const index = values.findIndex((value) => !Number.isFinite(value))
  const at = position + index * DTYPE_BYTES.F32
  for (const { name, begin, end } of header.tensors.values()) {
    if (at < begin || at >= end) continue
    const flat = (at - begin) / DTYPE_BYTES.F32
    return reject('NON_FINITE', `the tensor ${quoted(name)} holds ${values[index]} at flat index ${flat}`)
  }
  return reject('NON_FINITE', 'a value is not finite')
}
