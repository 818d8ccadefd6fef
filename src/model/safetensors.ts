import { type FileHandle, open } from 'node:fs/promises'
import { TapestryError } from '../core/error.ts'
import { reject, type Verdict } from '../core/rejection.ts'
import { quoted } from './header-text.ts'
import {
  byteLength,
  encodeHeader,
  inNameOrder,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  parseLength,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors-header.ts'
import { elementCount, type TensorSpec } from './tensor.ts'
import { fileError, writeWhole } from './whole-file.ts'

export {
  byteLength,
  encodeHeader,
  inNameOrder,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors-header.ts'

/** A tensor to write: `data` holds the elements row by row, little endian; bytes for any dtype, floats for F32. */
export type TensorData = TensorSpec & { readonly data: Uint8Array | Float32Array }

/** An F32 tensor in memory, row by row. */
export type FloatTensor = { readonly dtype: 'F32'; readonly shape: readonly number[]; readonly data: Float32Array }

/** One read() takes at most 2^31-1 bytes; this is well below and a multiple of every element size. */
const READ_BYTES = 2 ** 28

/**
 * Reads and parses the header of an open file.
 * @param most longest header to read, in bytes
 * @returns rejection MALFORMED or TRUNCATED
 */
export async function readHeader(file: FileHandle, most = MAX_HEADER_BYTES): Promise<Verdict<SafetensorsHeader>> {
  const { size } = await file.stat()
  const lengthField = new Uint8Array(LENGTH_BYTES)
  if (!(await readFully(file, lengthField, 0))) return reject('TRUNCATED', 'the file is too short to be safetensors')
  const length = parseLength(lengthField, size, most)
  if (!length.ok) return length
  const prefix = new Uint8Array(length.value)
  if (!(await readFully(file, prefix, 0))) return reject('TRUNCATED', 'the file ends inside its header')
  return parseHeader(prefix, size)
}

/**
 * Writes a safetensors file in canonical form (see {@link encodeHeader}); it appears whole or not at all.
 * @throws TapestryError INVALID_ARGUMENT for bad names, shapes or data lengths; DISK_FULL; NOT_FOUND for the directory
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorData[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const header = encodeHeader(tensors, metadata)
  const parts = inNameOrder(tensors).map(dataBytes)
  await writeWhole(path, [header, ...parts])
}

function dataBytes(tensor: TensorData): Uint8Array {
  const { data, dtype, name } = tensor
  if (data instanceof Float32Array && dtype !== 'F32') {
    throw new TapestryError('INVALID_ARGUMENT', `tensor ${quoted(name)} is ${dtype} but its data are 32-bit floats`)
  }
  const expected = byteLength(tensor)
  if (data.byteLength !== expected) {
    const detail = `tensor ${quoted(name)} has ${data.byteLength} bytes, its shape takes ${expected}`
    throw new TapestryError('INVALID_ARGUMENT', detail)
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

/**
 * Reads a whole F32 safetensors file, in file order. Values are not checked to be finite.
 * @throws TapestryError DATA_INVALID when the file is malformed or holds another dtype; NOT_FOUND
 */
export async function readSafetensors(path: string): Promise<Map<string, FloatTensor>> {
  try {
    return await readOpened(path)
  } catch (cause) {
    throw fileError(path, cause)
  }
}

async function readOpened(path: string): Promise<Map<string, FloatTensor>> {
  const file = await open(path, 'r')
  try {
    const header = await readHeader(file)
    if (!header.ok) throw new TapestryError('DATA_INVALID', `${path}: ${header.rejection.detail}`)
    const tensors = new Map<string, FloatTensor>()
    for (const entry of header.value.tensors.values()) tensors.set(entry.name, await readTensor(path, file, entry))
    return tensors
  } finally {
    await file.close()
  }
}

async function readTensor(path: string, file: FileHandle, entry: TensorEntry): Promise<FloatTensor> {
  const { name, dtype, shape, begin } = entry
  if (dtype !== 'F32') throw new TapestryError('DATA_INVALID', `${path}: tensor ${quoted(name)} is ${dtype}, not F32`)
  const data = new Float32Array(elementCount(shape))
  if (!(await readFully(file, new Uint8Array(data.buffer), begin))) {
    throw new TapestryError('DATA_INVALID', `${path}: the file ends inside tensor ${quoted(name)}`)
  }
  return { dtype, shape, data }
}

/** Fills `target` from `position`; false when the file ends first. */
export async function readFully(file: FileHandle, target: Uint8Array, position: number): Promise<boolean> {
  let filled = 0
  while (filled < target.byteLength) {
    const length = Math.min(READ_BYTES, target.byteLength - filled)
    const { bytesRead } = await file.read(target, filled, length, position + filled)
    if (bytesRead === 0) return false
    filled += bytesRead
  }
  return true
}
