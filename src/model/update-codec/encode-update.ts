import { type FileHandle, open } from 'node:fs/promises'
import type { Codec } from '../../core/codec.ts'
import { TapestryError } from '../../core/error.ts'
import { quoted } from '../header-text.ts'
import { readFully, readHeader } from '../safetensors.ts'
import { encodeHeader, parseHeader, type SafetensorsHeader, type TensorEntry } from '../safetensors-header.ts'
import { checkTensors } from '../schema.ts'
import { DTYPE_BYTES, elementCount, type TensorSpec } from '../tensor.ts'
import { fileError, fillWhole } from '../whole-file.ts'
import { encodeTensor } from './encode-tensor.ts'
import { encodedMetadata, encodedSpecs } from './encoded-layout.ts'

export type Encoding = {
  readonly codec: Codec
  /** The model's F32 tensors. */
  readonly model: readonly TensorSpec[]
  /** Path of the update as it was trained: F32 safetensors. */
  readonly update: string
  /** Path of what earlier updates left out, to be sent now: F32 safetensors; nothing before the first. */
  readonly residual?: string | undefined
  /** Path of the encoded update to write. */
  readonly out: string
  /** Path where what this one leaves out is written. */
  readonly outResidual?: string | undefined
}

/**
 * Encodes an update for the wire. With a residual this is error feedback, tensor by tensor,
 *
 *     p = update + residual (in f32);  sent = encode(p);  next residual = p - decode(sent),
 *
 * so that what is left out is not lost but late: Seide et al. 2014 (Interspeech, 1-bit SGD), Stich et
 * al. 2018 (arXiv:1809.07599, algorithm 1), Karimireddy et al. 2019 (arXiv:1901.09847, algorithm 1).
 * Both files appear whole or not at all, the residual first; the same inputs give the same bytes.
 * Memory: a few times the largest tensor.
 * @throws TapestryError DATA_INVALID when a file is malformed, has not the model's tensors or a value that is not
 *   finite; NOT_FOUND; DISK_FULL
 */
export async function encodeUpdate({ codec, model, update, residual, out, outResidual }: Encoding): Promise<void> {
  const opened: FileHandle[] = []
  try {
    const trained = await openFloats(update, model, opened)
    const left = residual === undefined ? undefined : await openFloats(residual, model, opened)
    const encode = (rest: TensorWriter | undefined) =>
      writeTensors(out, encodedSpecs(codec, model), encodedMetadata(codec), async (sent) => {
        for (const spec of model) {
          const values = await corrected(spec, trained, left)
          const { parts, decode } = encodeTensor(codec, spec.name, values)
          for (const [name, data] of parts) await sent(name, data)
          await rest?.(spec.name, difference(values, decode))
        }
      })
    if (outResidual === undefined) await encode(undefined)
    else await writeTensors(outResidual, model, {}, encode)
  } finally {
    for (const file of opened) await file.close()
  }
}

type FloatFile = { readonly path: string; readonly file: FileHandle; readonly header: SafetensorsHeader }

async function openFloats(path: string, model: readonly TensorSpec[], opened: FileHandle[]): Promise<FloatFile> {
  try {
    const file = await open(path, 'r')
    opened.push(file)
    const header = await readHeader(file)
    const verdict = header.ok ? checkTensors(header.value, model) : header
    if (!header.ok || !verdict.ok) throw invalid(path, verdict.ok ? '' : verdict.rejection.detail)
    return { path, file, header: header.value }
  } catch (cause) {
    throw fileError(path, cause)
  }
}

async function corrected(spec: TensorSpec, update: FloatFile, residual: FloatFile | undefined): Promise<Float32Array> {
  const values = await readTensor(spec, update)
  if (residual !== undefined) {
    const left = await readTensor(spec, residual)
    for (let j = 0; j < values.length; j += 1) values[j]! += left[j]!
  }
  if (values.every(Number.isFinite)) return values
  throw invalid(update.path, `the tensor ${quoted(spec.name)} holds a value that is not finite`)
}

function difference(values: Float32Array, decode: () => Float32Array): Float32Array {
  const said = decode()
  return values.map((value, j) => value - said[j]!)
}

async function readTensor({ name, shape }: TensorSpec, { path, file, header }: FloatFile): Promise<Float32Array> {
  const values = new Float32Array(elementCount(shape))
  const begin = header.tensors.get(name)?.begin ?? 0
  if (await readFully(file, new Uint8Array(values.buffer), begin)) return values
  throw invalid(path, `the file ends inside the tensor ${quoted(name)}`)
}

type TensorWriter = (name: string, data: ArrayBufferView) => Promise<void>

/** Writes a canonical safetensors file whose tensors come in any order. */
async function writeTensors(
  path: string,
  specs: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>>,
  fill: (write: TensorWriter) => Promise<void>,
): Promise<void> {
  const header = encodeHeader(specs, metadata)
  const entries = placesOf(header, specs)
  await fillWhole(path, async (file) => {
    await file.write(header, 0, header.byteLength, 0)
    await fill(async (name, data) => {
      const { begin, end } = entries.get(name) ?? { begin: 0, end: 0 }
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      if (bytes.byteLength !== end - begin) throw new TapestryError('INTERNAL', `${name} is not ${end - begin} bytes`)
      for (let at = 0; at < bytes.byteLength; ) {
        at += (await file.write(bytes, at, Math.min(WRITE_BYTES, bytes.byteLength - at), begin + at)).bytesWritten
      }
    })
  })
}

/** One write() takes at most 2^31-1 bytes. */
const WRITE_BYTES = 2 ** 28

function placesOf(header: Uint8Array, specs: readonly TensorSpec[]): ReadonlyMap<string, TensorEntry> {
  const data = specs.reduce((sum, { dtype, shape }) => sum + elementCount(shape) * DTYPE_BYTES[dtype], 0)
  const parsed = parseHeader(header, header.byteLength + data)
  if (!parsed.ok) throw new TapestryError('INTERNAL', parsed.rejection.detail)
  return parsed.value.tensors
}

function invalid(path: string, problem: string): TapestryError {
  return new TapestryError('DATA_INVALID', `${path}: ${problem}`)
}
