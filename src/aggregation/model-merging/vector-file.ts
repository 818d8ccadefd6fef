import { open } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { encodeHeader } from '../../model/safetensors.ts'
import { ELEMENT_BYTES, type Layout, layoutOf, type Model, readFloatHeader } from '../merge-layout.ts'
import { elementsOf } from '../merge-sources.ts'
import type { Watch } from '../merge-workers.ts'
import { Target } from '../target.ts'
import { TensorReader } from '../tensor-reader.ts'

/** How a pass over vectors is watched and cut. */
export type Pass = Watch & {
  /** Elements held of each vector at a time; results do not depend on it. */
  readonly block?: number | undefined
}

/** 1 MiB of each vector. */
const BLOCK = 2 ** 18

/** A scratch file with the tensors of a model, all F32, to be filled. */
export type VectorFile = {
  readonly path: string
  readonly layout: Layout
  readonly dataBegin: number
  readonly elements: number
}

/** Makes a vector of zeros. @throws a system error */
export async function createVector(path: string, model: Model): Promise<VectorFile> {
  const header = encodeHeader([...model.tensors.values()], {})
  const elements = elementsOf(model)
  const file = await open(path, 'wx')
  try {
    await file.writeFile(header)
    await file.truncate(header.byteLength + elements * ELEMENT_BYTES)
  } finally {
    await file.close()
  }
  return { path, layout: layoutOf(path, await readFloatHeader(path)), dataBegin: header.byteLength, elements }
}

/**
 * Fills a vector from others, a block at a time, with the event loop free between blocks. It may be one of its own
 * inputs.
 * @param merge makes of one stretch of every input the same stretch of the output; may change what it is given
 * @throws TapestryError NOT_FOUND, DATA_INVALID, DISK_FULL; the signal's reason
 */
export async function fillVector(
  out: VectorFile,
  inputs: readonly Layout[],
  pass: Pass,
  merge: (stretches: readonly Float32Array[], first: number) => Float32Array,
): Promise<void> {
  const target = new Target([{ path: out.path, first: 0, position: out.dataBegin }])
  try {
    await readVectors(inputs, out.elements, pass, (stretches, first) => {
      target.write(first, bytesOf(merge(stretches, first)))
    })
  } finally {
    target.close()
  }
}

/** Reads vectors, a block of each at a time. @throws as {@link fillVector} */
export async function readVectors(
  inputs: readonly Layout[],
  elements: number,
  { block = BLOCK, signal, onProgress }: Pass,
  visit: (stretches: readonly Float32Array[], first: number) => void,
): Promise<void> {
  const reader = new TensorReader(inputs)
  const held = inputs.map(() => new Float32Array(Math.min(block, elements)))
  try {
    for (let first = 0; first < elements; first += block) {
      signal?.throwIfAborted()
      const count = Math.min(block, elements - first)
      const stretches = held.map((buffer) => buffer.subarray(0, count))
      for (const [i, stretch] of stretches.entries()) reader.read(i, first, bytesOf(stretch))
      visit(stretches, first)
      onProgress?.((first + count) * ELEMENT_BYTES, elements * ELEMENT_BYTES)
      await setImmediate()
    }
  } finally {
    reader.close()
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
