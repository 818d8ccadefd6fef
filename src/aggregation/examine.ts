import type { Codec } from '../core/codec.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import { compareDeltas, measureNorms, sampling } from './compare.ts'
import { cosineMatrix } from './diagnostics.ts'
import { openSources } from './merge-sources.ts'

/** More deltas than this are not compared with each other: the matrix grows with the square of their number. */
const MOST_COMPARED = 2048

/** Norms of deltas and the cosine of each with each; no cosines when there are too many to compare. */
export type Examination = { readonly norms: readonly number[]; readonly cosines: readonly (readonly number[])[] | null }

/**
 * Looks at contributions before they are weighed, out of core, in the arithmetic of the merge. Large
 * models are compared over evenly spaced tiles; norms are always whole.
 * @param codec what all deltas are encoded in
 * @throws TapestryError as `mergeRound`
 */
export async function examineDeltas(
  base: WeightFiles,
  paths: readonly string[],
  codec: Codec,
  signal: AbortSignal | undefined,
): Promise<Examination> {
  const { deltas, elements } = await openSources(
    base,
    paths.map((path) => ({ path })),
    codec,
  )
  const norms = await measureNorms(deltas, elements, { signal })
  if (deltas.length > MOST_COMPARED) return { norms, cosines: null }
  const dots = await compareDeltas(deltas, elements, { signal, every: sampling(elements, deltas.length) })
  return { norms, cosines: cosineMatrix(dots.count, dots.of) }
}
