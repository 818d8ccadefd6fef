import { type Codec, F32 } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import type { ShardContents, WeightFiles } from '../model/weight-index.ts'
import { type BlockShape, TILE } from './block-layout.ts'
import { openSources } from './merge-sources.ts'
import { writeMerge } from './merge-writer.ts'

/** One contribution to a merge: a safetensors file, F32 or encoded, with the tensors of the base. */
export type WeightedDelta = { readonly path: string; readonly weight: number }

export type MergeRequest = {
  /** F32 weights. */
  readonly base: WeightFiles
  /** In the order in which they are folded: the caller chooses one that does not depend on arrival. */
  readonly deltas: readonly WeightedDelta[]
  /** What every delta is encoded in; by default F32. */
  readonly codec?: Codec | undefined
  /** Path of the file to write. It appears whole or not at all; its shards, beside it, one after the other once all are whole. */
  readonly out: string
  /** Most bytes of tensors in a file: what exceeds it is written as shards. By default there is one file. */
  readonly shardBytes?: number | undefined
  /** Worker threads; by default 2, or 1 on a machine with one processor. */
  readonly threads?: number | undefined
  /** Bytes of tensor data done, and how many there will be. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  /** Stops the merge: nothing is left behind, and the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** For tests: results do not depend on it. */
  readonly shape?: BlockShape | undefined
}

/** A file of the merged model. */
export type WrittenFile = ShardContents & { readonly path: string }

export type MergeResult = {
  /** Euclidean norm of the merged delta (each element rounded to f32). */
  readonly deltaNorm: number
  /** Euclidean norm of each delta. */
  readonly norms: readonly number[]
  /** Cosine of the angle between each delta and the merged delta; 0 where one of them is zero. */
  readonly cosines: readonly number[]
  /** How much of each delta is in the merged delta: its projection in units of the delta; 0 for a zero delta. */
  readonly retained: readonly number[]
  /** What was written, in order. */
  readonly files: readonly WrittenFile[]
}

/** Weights of a mean add up to 1, but for the rounding of their own computation. */
const WEIGHT_TOLERANCE = 1e-9
const MAX_THREADS = 64

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
 * Deltas may keep their tensors in any order. Memory is constant.
 *
 * @throws TapestryError INVALID_ARGUMENT without deltas, or unless the weights are finite, not
 *   negative and add up to 1 within 1e-9; NOT_FOUND; DATA_INVALID when a file is malformed, not
 *   F32, has other tensors than the base, or a value that is not finite goes in or comes out;
 *   DISK_FULL
 */
export async function mergeMean(request: MergeRequest): Promise<MergeResult> {
  ensureRequest(request)
  return writeDeltas(request)
}

/** {@link mergeMean} for factors that need not be those of a mean. @throws as it does, without a check of the request */
export async function writeDeltas(request: MergeRequest): Promise<MergeResult> {
  const { out, shardBytes, threads, onProgress, signal, shape } = request
  const sources = await openSources(request.base, request.deltas, request.codec ?? F32)
  const coefficients = request.deltas.map(({ weight }) => weight)
  const rule = { kind: 'weighted', coefficients } as const
  return writeMerge(sources, { out, shardBytes, rule, optimizer: undefined, threads, onProgress, signal, shape })
}

/** What every merge asks of its request. @throws TapestryError INVALID_ARGUMENT */
export function ensureRequest({ deltas, threads, shape }: MergeRequest): void {
  if (deltas.length === 0) throw new TapestryError('INVALID_ARGUMENT', 'a merge of no deltas is not defined')
  const bad = deltas.find(({ weight }) => !Number.isFinite(weight) || weight < 0)
  if (bad !== undefined) throw new TapestryError('INVALID_ARGUMENT', `${bad.weight} cannot be the weight of a delta`)
  const total = deltas.reduce((sum, { weight }) => sum + weight, 0)
  if (Math.abs(total - 1) > WEIGHT_TOLERANCE) {
    throw new TapestryError('INVALID_ARGUMENT', `the weights of a merge add up to 1, not to ${total}`)
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
