import { canonicalBytes, type Json } from '../../src/core/canonical-json.ts'
import { type Digest, digestOf } from '../../src/core/digest.ts'
import { encodeHeader, inNameOrder, type TensorData } from '../../src/model/safetensors.ts'
import { elementCount, type TensorSpec } from '../../src/model/tensor.ts'

/** A small change of every value: a delta that harms nothing. */
export const HARMLESS = 1e-4

/** Tensors of the given shapes, F32, each value made from the tensor's name and the flat index. */
export function tensorsOf(
  specs: readonly TensorSpec[],
  value: (name: string, index: number) => number = () => HARMLESS,
): TensorData[] {
  return specs.map((spec) => ({
    ...spec,
    data: Float32Array.from({ length: elementCount(spec.shape) }, (_, index) => value(spec.name, index)),
  }))
}

/** A safetensors file in memory. */
export function safetensorsBytes(tensors: readonly TensorData[]): Buffer {
  const parts = inNameOrder(tensors).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return Buffer.concat([encodeHeader(tensors), ...parts])
}

/** What an honest node says about one round, as plain JSON: tests change it before it is signed. */
export type Document = { [field: string]: Json }

/** Bytes to sign; unlike the product's own encoder it takes anything. */
export function documentBytes(document: Document): Buffer {
  return Buffer.from(canonicalBytes(document))
}

export type Payload = { readonly bytes: Buffer; readonly digest: Digest }

export function payloadOf(bytes: Buffer): Payload {
  return { bytes, digest: digestOf(bytes) }
}
