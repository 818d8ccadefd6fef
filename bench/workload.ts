import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { type Digest, fromHex } from '../src/core/digest.ts'
import { encodeHeader, inNameOrder } from '../src/model/safetensors.ts'
import { elementCount, type TensorSpec } from '../src/model/tensor.ts'
import { MAX_PARAMETERS, parameterCount } from '../src/plan/budget.ts'
import { parameterSpecs } from '../src/plan/parameters.ts'
import { PRESETS } from '../src/plan/presets.ts'
import type { PlanSpec } from '../src/plan/spec.ts'

const FLOAT_BYTES = 4
/** Deltas are written in pieces of this many floats: 4 MiB. */
const PIECE_FLOATS = 2 ** 20

/** The largest model that a plan may describe, as float32. */
export const MOST_MODEL_BYTES = MAX_PARAMETERS * FLOAT_BYTES

/** Width and depth by size in bytes; the width of the feed-forward layers then meets the size. */
const SHAPES = [
  { from: 2e9, hiddenSize: 2048, layers: 28 },
  { from: 300e6, hiddenSize: 1024, layers: 12 },
  { from: 30e6, hiddenSize: 512, layers: 8 },
  { from: 0, hiddenSize: 64, layers: 4 },
] as const

/** A plan whose weights, and so every delta, take about `bytes`, but never more. */
export function planOfSize(bytes: number): PlanSpec {
  const shape = SHAPES.find(({ from }) => bytes >= from) ?? SHAPES[2]
  const at = (intermediateSize: number): PlanSpec => ({
    ...PRESETS.tiny,
    architecture: {
      ...PRESETS.tiny.architecture,
      hiddenSize: shape.hiddenSize,
      layers: shape.layers,
      heads: 8,
      kvHeads: 8,
      intermediateSize,
    },
    training: { ...PRESETS.tiny.training, batchSize: 1, sequenceLength: 16 },
  })
  const most = Math.min(bytes, MOST_MODEL_BYTES) / FLOAT_BYTES
  const fixed = parameterCount(at(0).architecture)
  return at(Math.max(1, Math.floor((most - fixed) / (parameterCount(at(1).architecture) - fixed))))
}

/** A file to upload. */
export type DeltaFile = { readonly path: string; readonly digest: Digest; readonly size: number }

/**
 * Writes a delta for a plan: normal values of deviation about 1e-3, no two files alike in any value.
 * @param serial makes it different from others of the same plan.
 */
export async function writeDelta(path: string, spec: PlanSpec, serial: number): Promise<DeltaFile> {
  const tensors: TensorSpec[] = inNameOrder(parameterSpecs(spec))
  const file = await open(path, 'w')
  try {
    const hash = createHash('sha256')
    const header = encodeHeader(tensors, {})
    const floats = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)
    await append(file, hash, header)
    const piece = new Float32Array(PIECE_FLOATS)
    for (let at = 0; at < floats; at += PIECE_FLOATS) {
      scale(piece, 1 + serial * 1e-4 + (at / PIECE_FLOATS) * 1e-7)
      const count = Math.min(PIECE_FLOATS, floats - at)
      await append(file, hash, new Uint8Array(piece.buffer, 0, count * FLOAT_BYTES))
    }
    return { path, digest: fromHex(hash.digest('hex')), size: header.byteLength + floats * FLOAT_BYTES }
  } finally {
    await file.close()
  }
}

async function append(file: FileHandle, hash: ReturnType<typeof createHash>, bytes: Uint8Array): Promise<void> {
  hash.update(bytes)
  await file.writeFile(bytes)
}

let normals: Float32Array | undefined

/** Drawing every value anew would take longer than the round that is measured. */
function scale(target: Float32Array, factor: number): void {
  normals ??= drawNormals(PIECE_FLOATS)
  for (let i = 0; i < target.length; i += 1) target[i] = normals[i]! * factor
}

/** Box and Muller (1958) over mulberry32. */
function drawNormals(count: number): Float32Array {
  let state = 1
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (((t ^ (t >>> 14)) >>> 0) + 1) / (2 ** 32 + 1)
  }
  return Float32Array.from(
    { length: count },
    () => 1e-3 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  )
}
