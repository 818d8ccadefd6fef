import { open } from 'node:fs/promises'
import { blockSquares } from '../aggregation/block-squares.ts'
import type { Codec } from '../core/codec.ts'
import { denseScans } from '../model/dense-scan.ts'
import { judgeDelta } from '../model/judge.ts'
import { SafetensorsScan } from '../model/safetensors-scan.ts'
import type { TensorSpec } from '../model/tensor.ts'
import { encodedScans } from '../model/update-codec/encoded-scans.ts'
import { fileError } from '../model/whole-file.ts'

/** All that measuring takes besides the header, whatever the size of the model. */
const BLOCK_BYTES = 2 ** 20

/**
 * The L2 norm over all decoded values of an update, as its coordinator will measure it.
 * @param model the F32 tensors that it is an update of
 * @returns NaN, which no limit admits, for a file that is no such update
 * @throws TapestryError NOT_FOUND
 */
export async function deltaNorm(path: string, model: readonly TensorSpec[], codec: Codec): Promise<number> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(path, cause)
  })
  try {
    const scan = new SafetensorsScan((await file.stat()).size, encodedScans(denseScans(blockSquares())))
    const block = new Uint8Array(BLOCK_BYTES)
    for (let at = 0; ; ) {
      const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, at)
      if (bytesRead === 0) break
      scan.push(block.subarray(0, bytesRead))
      at += bytesRead
    }
    const verdict = judgeDelta(scan.finish(), model, codec, { maxNorm: 0 })
    return verdict.ok ? verdict.value.norm : Number.NaN
  } finally {
    await file.close()
  }
}
