import { open } from 'node:fs/promises'
import { readFully, readHeader } from '../model/safetensors.ts'
import { DTYPE_BYTES } from '../model/tensor.ts'
import { fileError } from '../model/whole-file.ts'

/** All that measuring takes besides the header, whatever the size of the model. */
const BLOCK_BYTES = 2 ** 20

/**
 * The L2 norm over all values of a file of F32 tensors, added in 64-bit floats in file order.
 * @returns NaN, which no limit admits, for a file that is not of such tensors
 * @throws TapestryError NOT_FOUND
 */
export async function deltaNorm(path: string): Promise<number> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(path, cause)
  })
  try {
    const header = await readHeader(file)
    if (!header.ok) return Number.NaN
    const { tensors, dataBegin, fileSize } = header.value
    if ([...tensors.values()].some(({ dtype }) => dtype !== 'F32')) return Number.NaN
    const block = new Uint8Array(BLOCK_BYTES)
    let squares = 0
    for (let position = dataBegin; position < fileSize; position += BLOCK_BYTES) {
      const bytes = block.subarray(0, Math.min(BLOCK_BYTES, fileSize - position))
      if (!(await readFully(file, bytes, position))) return Number.NaN
      const values = new Float32Array(block.buffer, 0, bytes.byteLength / DTYPE_BYTES.F32)
      for (const value of values) squares += value * value
    }
    return Math.sqrt(squares)
  } finally {
    await file.close()
  }
}
