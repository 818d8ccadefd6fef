import { TapestryError } from '../core/error.ts'
import { TILE } from './block-layout.ts'
import { dotCount } from './compare-spans.ts'
import { type Layout, nameOf } from './merge-layout.ts'
import { threadsFor } from './merge-pass.ts'
import { addSpans, type CompareTask, sharedWork } from './merge-task.ts'
import { runWorkers, type Watch } from './merge-workers.ts'

/** Dot products of deltas with each other, in f64. */
export type DotProducts = {
  readonly count: number
  /** Elements that were looked at: all of the model, or evenly spaced tiles of it. */
  readonly elements: number
  readonly of: (i: number, j: number) => number
}

type Pass = Watch & {
  readonly threads?: number | undefined
  /** Every so many tiles one is looked at; by default all are. */
  readonly every?: number
}

/**
 * Products that a comparison for people may cost: a tenth of a second on one thread. Of eight deltas it looks at some
 * 3.7 million elements, of sixty-four at 64,000: cosines are then right to 0.0005 and 0.004.
 */
const ENOUGH_WORK = 2 ** 27

/**
 * Every so many tiles one has to be looked at, so that a comparison of `count` deltas stays cheap
 * beside their merge. Depends on sizes alone, like everything that decides about bytes or numbers.
 */
export function sampling(elements: number, count: number): number {
  return Math.max(1, Math.ceil((elements * dotCount(count, 'all')) / ENOUGH_WORK))
}

/**
 * The dot products of all pairs, in one pass: the f32 elements in f64, tile by tile.
 * @throws TapestryError DATA_INVALID for a value that is not finite; NOT_FOUND; RESOURCE_EXHAUSTED; the signal's reason
 */
export async function compareDeltas(layouts: readonly Layout[], elements: number, pass: Pass): Promise<DotProducts> {
  const sums = await passOver(layouts, elements, 'all', pass)
  const count = layouts.length
  const of = (i: number, j: number) => {
    const [row, column] = i < j ? [i, j] : [j, i]
    return sums[row * count - (row * (row - 1)) / 2 + column - row] ?? Number.NaN
  }
  ensureFinite(layouts, (i) => of(i, i))
  return { count, elements: sampledElements(elements, pass.every ?? 1), of }
}

/** Euclidean norms of deltas, in one pass and the arithmetic of {@link compareDeltas}. @throws as it does */
export async function measureNorms(layouts: readonly Layout[], elements: number, pass: Pass): Promise<number[]> {
  const sums = await passOver(layouts, elements, 'own', pass)
  ensureFinite(layouts, (i) => sums[i] ?? 0)
  return Array.from(sums, Math.sqrt)
}

async function passOver(layouts: readonly Layout[], elements: number, pairs: CompareTask['pairs'], pass: Pass) {
  const width = dotCount(layouts.length, pairs)
  const { spans, ...work } = sharedWork(elements, width)
  const task: CompareTask = { kind: 'compare', layouts, pairs, every: pass.every ?? 1, ...work }
  await runWorkers(task, Math.min(pass.threads ?? threadsFor(task), spans), pass)
  return addSpans(work, width)
}

function ensureFinite(layouts: readonly Layout[], squareOf: (i: number) => number): void {
  const bad = layouts.find((_, i) => !Number.isFinite(squareOf(i)))
  if (bad !== undefined) throw new TapestryError('DATA_INVALID', `${nameOf(bad)} holds a value that is not finite`)
}

function sampledElements(elements: number, every: number): number {
  const tiles = Math.ceil(elements / TILE)
  const looked = Math.ceil(tiles / every)
  const cut = tiles > 0 && (tiles - 1) % every === 0 ? tiles * TILE - elements : 0
  return looked * TILE - cut
}
