import type { Codec } from '../core/codec.ts'
import { elementCount } from '../model/tensor.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import { type Layout, type Model, openWeights, readDeltaLayout } from './merge-layout.ts'

/** The files of a merge, their headers read and compared. */
export type MergeSources = {
  /** The base, and so what every delta and the result are made of. */
  readonly model: Model
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
  base: WeightFiles,
  deltas: readonly { readonly path: string }[],
  codec: Codec,
): Promise<MergeSources> {
  const { model, layout } = await openWeights(base)
  const layouts: Layout[] = []
  for (const { path } of deltas) layouts.push(await readDeltaLayout(path, model, codec))
  return { model, elements: elementsOf(model), base: layout, deltas: layouts }
}

export function elementsOf({ tensors }: Model): number {
  return [...tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0)
}
