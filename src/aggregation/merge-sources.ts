import type { Codec } from '../core/codec.ts'
import type { SafetensorsHeader } from '../model/safetensors.ts'
import { elementCount } from '../model/tensor.ts'
import { type Layout, layoutOf, readDeltaLayout, readFloatHeader } from './merge-layout.ts'

/** The files of a merge, their headers read and compared. */
export type MergeSources = {
  /** Of the base, and so of every delta and of the result. */
  readonly header: SafetensorsHeader
  /** Elements of the model. */
  readonly elements: number
  readonly base: Layout
  readonly deltas: readonly Layout[]
}

/**
 * @param codec what all deltas are encoded in; the base is F32
 * @throws TapestryError NOT_FOUND; DATA_INVALID when a file is malformed, of another codec, or has other tensors than the base
 */
export async function openSources(
  base: string,
  deltas: readonly { readonly path: string }[],
  codec: Codec,
): Promise<MergeSources> {
  const header = await readFloatHeader(base)
  const layouts: Layout[] = []
  for (const { path } of deltas) layouts.push(await readDeltaLayout(path, header, codec))
  const elements = [...header.tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0)
  return { header, elements, base: layoutOf(base, header), deltas: layouts }
}
