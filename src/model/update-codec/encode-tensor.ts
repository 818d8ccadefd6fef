import { assertNever } from '../../core/assert.ts'
import type { Codec } from '../../core/codec.ts'
import { fromBf16, toBf16 } from './bf16.ts'
import { INDICES, SCALES, VALUES } from './encoded-layout.ts'
import { dequantise, quantise } from './int8.ts'
import { keptCount, largest, spread } from './top-k.ts'

/** What a tensor becomes. */
export type EncodedTensor = {
  /** The tensors of the encoded file, by name. */
  readonly parts: readonly (readonly [name: string, data: ArrayBufferView])[]
  /** What whoever reads them finds: f32[n]. */
  readonly decode: () => Float32Array
}

/** Encodes one tensor of a model. Decoding and encoding again gives the same bytes. @param values f32[n], finite */
export function encodeTensor(codec: Codec, name: string, values: Float32Array): EncodedTensor {
  switch (codec.name) {
    case 'f32':
      return { parts: [[name, values]], decode: () => values }
    case 'bf16': {
      const narrow = toBf16(values)
      return { parts: [[name, narrow]], decode: () => fromBf16(narrow) }
    }
    case 'int8': {
      const { block } = codec.parameters
      const { scales, steps } = quantise(values, block)
      const parts = [[SCALES + name, scales] as const, [VALUES + name, steps] as const]
      return { parts, decode: () => dequantise({ scales, steps }, block) }
    }
    case 'topk': {
      const sparse = largest(values, keptCount(values.length, codec.parameters.fraction))
      const parts = [[INDICES + name, sparse.indices] as const, [VALUES + name, sparse.values] as const]
      return { parts, decode: () => spread(sparse, values.length) }
    }
    default:
      return assertNever(codec)
  }
}
