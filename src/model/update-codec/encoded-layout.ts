import { assertNever } from '../../core/assert.ts'
import { type Codec, codecText } from '../../core/codec.ts'
import { accept, reject, type Verdict } from '../../core/rejection.ts'
import { quoted } from '../header-text.ts'
import { inNameOrder } from '../safetensors-header.ts'
import { checkTensors } from '../schema.ts'
import { type Dtype, elementCount, type TensorSpec } from '../tensor.ts'
import { blockCount } from './int8.ts'
import { keptCount } from './top-k.ts'

/** Names the codec and its parameters in an encoded file's metadata. */
export const CODEC_KEY = 'codec'

/** Prefixes of the tensors that an encoded tensor becomes. In order of name, what is needed to read comes first. */
export const INDICES = 'indices.'
export const SCALES = 'scales.'
export const VALUES = 'values.'

/**
 * The tensors of an encoded update of a model with these F32 tensors:
 *
 * - f32, bf16: the same names and shapes;
 * - int8: `scales.<name>` F32 [blocks], blocks being counted from the start of each tensor, and
 *   `values.<name>` I8 of the tensor's shape;
 * - topk: `indices.<name>` U32 [k], strictly ascending flat indices, and `values.<name>` F32 [k].
 */
export function encodedSpecs(codec: Codec, model: readonly TensorSpec[]): TensorSpec[] {
  switch (codec.name) {
    case 'f32':
      return [...model]
    case 'bf16':
      return model.map(({ name, shape }) => spec(name, 'BF16', shape))
    case 'int8':
      return model.flatMap(({ name, shape }) => [
        spec(SCALES + name, 'F32', [blockCount(elementCount(shape), codec.parameters.block)]),
        spec(VALUES + name, 'I8', shape),
      ])
    case 'topk':
      return model.flatMap(({ name, shape }) => {
        const kept = keptCount(elementCount(shape), codec.parameters.fraction)
        return [spec(INDICES + name, 'U32', [kept]), spec(VALUES + name, 'F32', [kept])]
      })
    default:
      return assertNever(codec)
  }
}

function spec(name: string, dtype: Dtype, shape: readonly number[]): TensorSpec {
  return { name, dtype, shape }
}

/** An encoded file's metadata. F32 files need none: they are older than the choice. */
export function encodedMetadata(codec: Codec): Record<string, string> {
  return codec.name === 'f32' ? {} : { [CODEC_KEY]: codecText(codec) }
}

/** What is checked of a file: its tensors in file order, and the codec that its metadata names. */
export type EncodedFile = { readonly tensors: ReadonlyMap<string, TensorSpec>; readonly codec: string | undefined }

/**
 * Checks that a file is an update of this model in this codec, by what its header says.
 * @returns rejection CODEC_MISMATCH, MISSING_TENSOR, EXTRA_TENSOR, DTYPE_MISMATCH, SHAPE_MISMATCH, or MALFORMED
 *   when an encoded file is not in order of name
 */
export function checkEncoded(file: EncodedFile, codec: Codec, model: readonly TensorSpec[]): Verdict<void> {
  const wanted = codecText(codec)
  const named = file.codec ?? 'f32'
  if (named !== wanted) {
    return reject('CODEC_MISMATCH', `the update is encoded as ${quoted(named)}, the run takes ${wanted}`)
  }
  const tensors = checkTensors(file, encodedSpecs(codec, model))
  if (!tensors.ok || codec.name === 'f32') return tensors
  const found = [...file.tensors.values()]
  const ordered = inNameOrder(found).every(({ name }, index) => name === found[index]?.name)
  return ordered ? accept(undefined) : reject('MALFORMED', 'an encoded update keeps its tensors in order of name')
}
