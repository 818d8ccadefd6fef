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

/** @throws TapestryError NOT_FOUND; DATA_INVALID when a file is malformed, not F32, or has other tensors than the base */
export async function openSources(base: string, deltas: readonly { readonly path: string }[]): Promise<MergeSources> {
  const header = await readFloatHeader(base)
  const layouts: Layout[] = []
  for (const { path } of deltas) layouts.push(await readDeltaLayout(path, header))
  const elements = [...header.tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0)
  return { header, elements, base: layoutOf(base, header), deltas: layouts }
}
