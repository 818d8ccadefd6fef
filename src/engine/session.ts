import { InferenceSession, Tensor } from 'onnxruntime-node'
import { TapestryError } from '../core/error.ts'
import { type FloatTensor, readSafetensors } from '../model/safetensors.ts'
import type { TensorSpec } from '../model/tensor.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import { isCounted, type Sequence } from './sequences.ts'

export type Tensors = Record<string, Tensor>

/**
 * Opens a graph on one thread: one order of additions, hence the same bits in every run, and a node
 * stays usable while it trains. Denormals are flushed: moments that decay towards zero would
 * otherwise slow every step.
 */
export function openSession(graph: Uint8Array): Promise<InferenceSession> {
  return InferenceSession.create(graph, {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: { session: { set_denormal_as_zero: '1' } },
  })
}

export function floatTensor(data: Float32Array, shape: readonly number[]): Tensor {
  return new Tensor('float32', data, [...shape])
}

/** The elements of a float32 output. @throws TapestryError ENGINE_FAILED when there is no such output. */
export function floatsOf(tensors: Readonly<Record<string, Tensor>>, name: string): Float32Array {
  const data = tensors[name]?.data
  if (data instanceof Float32Array) return data
  throw new TapestryError('ENGINE_FAILED', `the graph gave no float32 output ${name}`)
}

/** `ids`, `labels` and `mask` of sequences of one length, each [sequences, length]. */
export function batchTensors(sequences: readonly Sequence[]): Tensors {
  const labels = sequences.flatMap((sequence) => sequence.labels)
  const shape = [sequences.length, labels.length / sequences.length]
  const ids = sequences.flatMap((sequence) => sequence.ids)
  return {
    ids: new Tensor('int64', BigInt64Array.from(ids, BigInt), shape),
    labels: new Tensor('int64', BigInt64Array.from(labels, BigInt), shape),
    mask: floatTensor(
      Float32Array.from(labels, (label) => (isCounted(label) ? 1 : 0)),
      shape,
    ),
  }
}

/**
 * Reads the weights of a plan.
 * @throws TapestryError VERIFICATION_FAILED when names, shapes or values are not the plan's: weights
 *   come from a checkpoint, so the node's own data are not to blame.
 */
export async function readWeights(files: WeightFiles, specs: readonly TensorSpec[]): Promise<Tensors> {
  const [path = ''] = files
  const found = await readAll(files)
  if (found.size !== specs.length) throw unfit(path, `${found.size} tensors, the plan has ${specs.length}`)
  const weights: Tensors = {}
  for (const { name, shape } of specs) {
    const tensor = found.get(name)
    if (!tensor || tensor.shape.join() !== shape.join()) throw unfit(path, `no tensor ${name} of shape [${shape}]`)
    if (!tensor.data.every(Number.isFinite)) throw unfit(path, `${name} holds a value that is not finite`)
    weights[name] = floatTensor(tensor.data, shape)
  }
  return weights
}

async function readAll(files: WeightFiles): Promise<Map<string, FloatTensor>> {
  const all = new Map<string, FloatTensor>()
  for (const path of files) {
    const found = await readSafetensors(path).catch((cause: unknown) => {
      throw unfit(path, cause instanceof TapestryError ? cause.message : 'cannot be read', cause)
    })
    for (const [name, tensor] of found) {
      if (all.has(name)) throw unfit(path, `${name} is in another file too`)
      all.set(name, tensor)
    }
  }
  return all
}

/** @throws TapestryError ENGINE_FAILED naming the tensor. */
export function requireFinite(name: string, data: Float32Array): void {
  if (data.every(Number.isFinite)) return
  throw new TapestryError('ENGINE_FAILED', `training left a value in ${name} that is not finite`)
}

function unfit(path: string, problem: string, cause?: unknown): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `the weights at ${path} do not fit the plan: ${problem}`, { cause })
}
