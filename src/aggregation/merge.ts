import { randomUUID } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { encodeHeader, type SafetensorsHeader } from '../model/safetensors.ts'
import { elementCount } from '../model/tensor.ts'
import { type BlockShape, sumCount, TILE } from './block-folder.ts'
import { ELEMENT_BYTES, type Layout, layoutOf, mergeError, readDeltaLayout, readFloatHeader } from './merge-layout.ts'
import { type MergeTask, spansOf } from './merge-task.ts'
import { runWorkers } from './merge-workers.ts'

/** One contribution to a merge: an F32 safetensors file with the tensors of the base. */
export type WeightedDelta = { readonly path: string; readonly weight: number }

export type MergeRequest = {
  /** Path of an F32 safetensors file. */
  readonly base: string
  /** In the order in which they are folded: the caller chooses one that does not depend on arrival. */
  readonly deltas: readonly WeightedDelta[]
  /** Path of the file to write. It appears whole or not at all. */
  readonly out: string
  /** Worker threads; by default 2, or 1 on a machine with one processor. */
  readonly threads?: number
  /** Bytes of tensor data written, and how many there will be. */
  readonly onProgress?: (done: number, total: number) => void
  /** Stops the merge: nothing is left behind, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** For tests: results do not depend on it. */
  readonly shape?: BlockShape
}

export type MergeResult = {
  /** Euclidean norm of the merged delta (each element rounded to f32). */
  readonly deltaNorm: number
  /** Euclidean norm of each delta. */
  readonly norms: readonly number[]
  /** Cosine of the angle between each delta and the merged delta; 0 where one of them is zero. */
  readonly cosines: readonly number[]
  /** Size of the file written. */
  readonly bytes: number
}

/** Weights of a mean add up to 1, but for the rounding of their own computation. */
const WEIGHT_TOLERANCE = 1e-9
const MAX_THREADS = 64
/**
 * 128 KiB of an input at a time reads as fast as more, and up to 32 of them stay in a second-level
 * or shared cache: 5 MiB a worker, whatever the size of the model and the number of deltas.
 */
const BLOCK: BlockShape = { elements: 32_768, group: 32 }

/**
 * Writes out = base + sum_i w_i * delta_i, element by element:
 *
 *     s = 0;  s = s + w_i * delta_i  for each delta in the given order;  out = f32(base + s)
 *
 * in IEEE 754 binary64, every product and every sum rounded by itself (no fused multiply-add),
 * then once to binary32, ties to even. The relative error of s before that one rounding is at most
 * about N * 2^-53 of sum |w_i delta_i|, so a merge in another order, or by region, gives the same
 * f32 but for ties of the last bit. Anyone can repeat it: in numpy, float64 arrays, in this order.
 *
 * The output is a canonical safetensors file (tensors in order of name) with the tensors and the
 * metadata of the base; its bytes and all statistics are independent of threads and block sizes.
 * Deltas may keep their tensors in any order. Memory is constant: see BLOCK.
 *
 * @throws TapestryError INVALID_ARGUMENT without deltas, or unless the weights are finite, not
 *   negative and add up to 1 within 1e-9; NOT_FOUND; DATA_INVALID when a file is malformed, not
 *   F32, has other tensors than the base, or a value that is not finite goes in or comes out;
 *   DISK_FULL
 */
export async function mergeMean(request: MergeRequest): Promise<MergeResult> {
  checkRequest(request)
  const base = await readFloatHeader(request.base)
  const layouts = [layoutOf(request.base, base)]
  for (const { path } of request.deltas) layouts.push(await readDeltaLayout(path, base))
  const temporary = join(dirname(request.out), `.${basename(request.out)}.${randomUUID()}.tmp`)
  try {
    const result = await mergeInto(temporary, request, base, layouts)
    await rename(temporary, request.out)
    await syncDirectory(dirname(request.out))
    return result
  } catch (cause) {
    await rm(temporary, { force: true })
    throw mergeError(request.out, cause)
  }
}

function checkRequest({ deltas, threads, shape }: MergeRequest): void {
  if (deltas.length === 0) throw new TapestryError('INVALID_ARGUMENT', 'a mean of no deltas is not defined')
  const bad = deltas.find(({ weight }) => !Number.isFinite(weight) || weight < 0)
  if (bad !== undefined) throw new TapestryError('INVALID_ARGUMENT', `${bad.weight} cannot be the weight of a delta`)
  const total = deltas.reduce((sum, { weight }) => sum + weight, 0)
  if (Math.abs(total - 1) > WEIGHT_TOLERANCE) {
    throw new TapestryError('INVALID_ARGUMENT', `the weights of a mean add up to 1, not to ${total}`)
  }
  if (threads !== undefined && !isWhole(threads, MAX_THREADS)) {
    throw new TapestryError('INVALID_ARGUMENT', `threads must be from 1 to ${MAX_THREADS}, not ${threads}`)
  }
  if (shape === undefined) return
  if (!isWhole(shape.group, 1024) || !isWhole(shape.elements / TILE, 1024)) {
    throw new TapestryError('INVALID_ARGUMENT', `a block is a multiple of ${TILE} elements`)
  }
}

function isWhole(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= most
}

/** Writes and syncs the whole output at `path`. */
async function mergeInto(
  path: string,
  request: MergeRequest,
  base: SafetensorsHeader,
  layouts: readonly Layout[],
): Promise<MergeResult> {
  const header = encodeHeader([...base.tensors.values()], Object.fromEntries(base.metadata))
  const elements = [...base.tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const bytes = header.byteLength + elements * ELEMENT_BYTES
  const file = await open(path, 'wx')
  try {
    await file.writeFile(header)
    await file.truncate(bytes)
    const sums = await foldInWorkers(path, request, layouts, header.byteLength, elements)
    await file.sync()
    return { ...statistics(sums, request.deltas), bytes }
  } finally {
    await file.close()
  }
}

async function foldInWorkers(
  path: string,
  request: MergeRequest,
  layouts: readonly Layout[],
  dataBegin: number,
  elements: number,
): Promise<Float64Array> {
  const weights = request.deltas.map(({ weight }) => weight)
  const shape = request.shape ?? BLOCK
  const spans = spansOf(elements).length
  const width = sumCount(weights.length)
  const sums = new SharedArrayBuffer(spans * width * Float64Array.BYTES_PER_ELEMENT)
  const nextSpan = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const task: MergeTask = { layouts, weights, shape, path, dataBegin, elements, nextSpan, sums }
  const threads = Math.min(request.threads ?? Math.min(2, availableParallelism()), spans)
  await runWorkers(task, threads, request)
  return addRows(new Float64Array(sums), width)
}

/** Column sums, row after row. */
function addRows(rows: Float64Array, width: number): Float64Array {
  const total = new Float64Array(width)
  for (let at = 0; at < rows.length; at += 1) total[at % width]! += rows[at]!
  return total
}

/** @throws TapestryError DATA_INVALID when any of the sums shows a value that is not finite */
function statistics(sums: Float64Array, deltas: readonly WeightedDelta[]): Omit<MergeResult, 'bytes'> {
  const norms = deltas.map((_, i) => Math.sqrt(sums[2 + 2 * i]!))
  const bad = deltas.find((_, i) => !Number.isFinite(norms[i]!))
  if (bad !== undefined) throw new TapestryError('DATA_INVALID', `${bad.path} holds a value that is not finite`)
  const deltaNorm = Math.sqrt(sums[0]!)
  if (!Number.isFinite(deltaNorm) || !Number.isFinite(sums[1]!)) {
    throw new TapestryError('DATA_INVALID', 'a value of the base or of the merge is not finite')
  }
  const cosines = norms.map((norm, i) => cosine(sums[3 + 2 * i]!, norm * deltaNorm))
  return { deltaNorm, norms, cosines }
}

function cosine(dot: number, scale: number): number {
  return scale === 0 ? 0 : Math.max(-1, Math.min(1, dot / scale))
}

async function syncDirectory(path: string): Promise<void> {
  const directory: FileHandle = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
