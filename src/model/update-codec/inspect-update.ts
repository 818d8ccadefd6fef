import { type FileHandle, open } from 'node:fs/promises'
import type { Codec } from '../../core/codec.ts'
import { accept, reject, type Verdict } from '../../core/rejection.ts'
import { type Inspection, type InspectionLimits, inspectDelta } from '../inspect.ts'
import { readFully, readHeader } from '../safetensors.ts'
import { encodeHeader, type SafetensorsHeader } from '../safetensors-header.ts'
import type { TensorSpec } from '../tensor.ts'
import { fileError } from '../whole-file.ts'
import { checkEncodedHeader, encodedMetadata, encodedSpecs } from './encoded-layout.ts'
import { UpdateScan } from './update-scan.ts'

const READ_BYTES = 2 ** 20
/** Room for padding and further metadata beside what an encoder writes. */
const HEADER_SLACK_BYTES = 2 ** 12

/**
 * Decides whether a file is a usable update for a model in the codec of its run: `inspectDelta` for
 * F32, and the same for what other codecs decode to. The norm is that of the decoded values.
 * @param model the model's F32 tensors
 * @returns rejection as `inspectDelta`, and CODEC_MISMATCH
 * @throws TapestryError as `inspectDelta`
 */
export async function inspectUpdate(
  path: string,
  model: readonly TensorSpec[],
  codec: Codec,
  limits: InspectionLimits,
): Promise<Verdict<Inspection>> {
  if (codec.name === 'f32') return inspectDelta(path, model, limits)
  try {
    const file = await open(path, 'r')
    try {
      return await inspectOpened(file, model, codec, limits)
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw fileError(path, cause)
  }
}

async function inspectOpened(
  file: FileHandle,
  model: readonly TensorSpec[],
  codec: Codec,
  { maxNorm }: InspectionLimits,
): Promise<Verdict<Inspection>> {
  const usual = encodeHeader(encodedSpecs(codec, model), encodedMetadata(codec)).byteLength
  const header = await readHeader(file, usual + HEADER_SLACK_BYTES)
  if (!header.ok) return header
  const layout = checkEncodedHeader(header.value, codec, model)
  if (!layout.ok) return layout
  const norm = await scan(file, header.value, codec, model)
  if (!norm.ok) return norm
  if (maxNorm > 0 && norm.value > maxNorm) {
    return reject('NORM_TOO_LARGE', `the norm is ${norm.value}, the limit ${maxNorm}`)
  }
  return accept({ norm: norm.value, bytes: header.value.fileSize })
}

async function scan(
  file: FileHandle,
  header: SafetensorsHeader,
  codec: Codec,
  model: readonly TensorSpec[],
): Promise<Verdict<number>> {
  const { dataBegin, fileSize } = header
  const judge = new UpdateScan(header, codec, model)
  const block = new Uint8Array(READ_BYTES)
  for (let position = dataBegin; position < fileSize; position += READ_BYTES) {
    const bytes = block.subarray(0, Math.min(READ_BYTES, fileSize - position))
    if (!(await readFully(file, bytes, position))) break
    const verdict = judge.push(bytes)
    if (!verdict.ok) return verdict
  }
  return judge.end()
}
