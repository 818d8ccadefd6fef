import { join } from 'node:path'
import { assertNever } from '../../core/assert.ts'
import { TapestryError } from '../../core/error.ts'
import { type Merging, mergingText } from '../../core/model-merging.ts'
import { checkTensors } from '../../model/schema.ts'
import type { WeightFiles } from '../../model/weight-index.ts'
import { compareDeltas } from '../compare.ts'
import { type MergeResult, type WeightedDelta, writeDeltas } from '../merge.ts'
import { type Layout, type Model, nameOf, type OpenedWeights, openWeights } from '../merge-layout.ts'
import { elementsOf } from '../merge-sources.ts'
import { arcWeights, disjointMean, dropElements } from '../strategies/model-merging.ts'
import { trimVector } from './trim.ts'
import { createVector, fillVector, type Pass, type VectorFile } from './vector-file.ts'

export type ModelMerge = {
  /** F32 weights: the model that the others were specialised from. */
  readonly base: WeightFiles
  /** Models with the tensors of the base, in an order that the result may depend on: the caller fixes it. */
  readonly models: readonly WeightFiles[]
  readonly merging: Merging
  /** Path of the file to write, and the most bytes of tensors in it: as for every merge. */
  readonly out: string
  readonly shardBytes?: number | undefined
  /** An empty directory on the same disk: takes a vector of the model's size for each model, and one more. */
  readonly scratch: string
  readonly threads?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Bytes done of all passes, and how many there will be. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  /** For tests: results do not depend on it. */
  readonly block?: number | undefined
}

/**
 * Merges specialised models: out = base + what the strategy makes of their task vectors, model - base rounded to f32
 * (Ilharco et al. 2023, arXiv:2212.04089). Each strategy works on the vector of the whole model, not tensor by tensor.
 * Memory is constant, the bytes depend on the models, their order and the strategy alone; the arithmetic is that of
 * strategies/model-merging.ts, with sums in f64.
 *
 * @throws TapestryError INVALID_ARGUMENT for a number of models that the strategy is not defined for; NOT_FOUND;
 *   DATA_INVALID for tensors that are not the base's, or values that are not finite; DISK_FULL; the signal's reason
 */
export async function mergeModels(request: ModelMerge): Promise<MergeResult> {
  ensureCount(request)
  const { base, out, shardBytes, threads } = request
  const opened = await openWeights(base)
  const passes = new Passes(request, elementsOf(opened.model))
  const vectors: VectorFile[] = []
  for (const [place, files] of request.models.entries()) {
    const path = join(request.scratch, `task-${place}.safetensors`)
    vectors.push(await taskVector(path, opened, await openModel(files, opened), place, request.merging, passes))
  }
  const deltas = await combine(request, opened.model, vectors, passes)
  return writeDeltas({ base, deltas, out, shardBytes, threads, ...passes.next() })
}

function ensureCount({ merging, models }: ModelMerge): void {
  const fits = merging.name === 'slerp' ? models.length === 2 : models.length > 0
  if (fits) return
  const needed = merging.name === 'slerp' ? 'exactly two models' : 'at least one model'
  throw new TapestryError('INVALID_ARGUMENT', `${mergingText(merging)} merges ${needed}, not ${models.length}`)
}

/** @throws TapestryError DATA_INVALID for tensors that are not the base's */
async function openModel(files: WeightFiles, base: OpenedWeights): Promise<Layout> {
  const { model, layout } = await openWeights(files)
  const verdict = checkTensors(model, [...base.model.tensors.values()])
  if (!verdict.ok) throw new TapestryError('DATA_INVALID', `${nameOf(layout)}: ${verdict.rejection.detail}`)
  return layout
}

/** One model's difference from the base, trimmed or thinned as the strategy wants it. */
async function taskVector(
  path: string,
  base: OpenedWeights,
  layout: Layout,
  place: number,
  merging: Merging,
  passes: Passes,
): Promise<VectorFile> {
  const vector = await createVector(path, base.model)
  await fillVector(vector, [base.layout, layout], passes.next(), ([before = NONE, after = NONE], first) => {
    for (let j = 0; j < after.length; j += 1) after[j]! -= before[j]!
    if (!after.every(Number.isFinite)) {
      throw new TapestryError('DATA_INVALID', `${nameOf(layout)}: a difference from the base is not finite`)
    }
    if (merging.name === 'dare') dropElements(after, first, { ...merging.parameters, place })
    return after
  })
  if (merging.name === 'ties') await trimVector(vector, merging.parameters.density, passes.quiet())
  return vector
}

const NONE = new Float32Array()

/** Makes of the task vectors deltas and what each is multiplied by. */
async function combine(
  { merging, scratch }: ModelMerge,
  model: Model,
  vectors: readonly VectorFile[],
  passes: Passes,
): Promise<readonly WeightedDelta[]> {
  const layouts = vectors.map(({ layout }) => layout)
  const weighed = (weightOf: (place: number) => number) =>
    vectors.map(({ path }, place) => ({ path, weight: weightOf(place) }))
  switch (merging.name) {
    case 'dare':
      return weighed(() => 1 / layouts.length)
    case 'slerp': {
      const dots = await compareDeltas(layouts, elementsOf(model), passes.quiet())
      const [normA, normB] = [Math.sqrt(dots.of(0, 0)), Math.sqrt(dots.of(1, 1))]
      const weights = arcWeights(normA, normB, dots.of(0, 1), merging.parameters.t)
      return weighed((place) => weights[place] ?? 0)
    }
    case 'ties': {
      const merged = await createVector(join(scratch, 'merged.safetensors'), model)
      const { strength } = merging.parameters
      await fillVector(merged, layouts, passes.next(), (stretches) => {
        const kept = stretches.map((delta) => ({ delta, weight: 1 }))
        return disjointMean(kept, kept[0]?.delta.length ?? 0, strength)
      })
      return [{ path: merged.path, weight: 1 }]
    }
    default:
      return assertNever(merging)
  }
}

/** Counts progress through all passes that write. */
class Passes {
  readonly #request: ModelMerge
  readonly #bytes: number
  readonly #count: number
  #done = 0

  constructor(request: ModelMerge, elements: number) {
    this.#request = request
    this.#bytes = elements * NONE.BYTES_PER_ELEMENT
    this.#count = request.models.length + 1 + Number(request.merging.name === 'ties')
  }

  next(): Pass {
    const before = this.#done * this.#bytes
    this.#done += 1
    const report = (done: number) => this.#request.onProgress?.(before + done, this.#count * this.#bytes)
    return { ...this.quiet(), onProgress: report }
  }

  quiet(): Pass {
    const { signal, block } = this.#request
    return { signal, block }
  }
}
