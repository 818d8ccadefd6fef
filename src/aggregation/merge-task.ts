import type { Strategy } from '../core/strategy.ts'
import { type BlockShape, TILE } from './block-layout.ts'
import type { Layout } from './merge-layout.ts'
import type { TargetFile } from './target.ts'

/** How the elements of all deltas at one place become one. */
export type CombineRule =
  /** The sum of coefficient times element, in the order of the deltas. */
  | { readonly kind: 'weighted'; readonly coefficients: readonly number[] }
  | { readonly kind: 'median' }
  /** The mean without the `trim` smallest and largest. */
  | { readonly kind: 'trimmed'; readonly trim: number }

/** What the server's optimizer remembers, from one merge to the next. */
export type OptimizerTask = {
  readonly strategy: Strategy
  /** Where the last state keeps each of its vectors; none before the first merge. */
  readonly before: readonly Layout[]
  /** The unfinished next state, which exists and has its header. */
  readonly path: string
  readonly dataBegin: number
}

/** Spans that workers take one after the other, and the sums of each. */
type SharedWork = {
  /** Elements of the model. */
  readonly elements: number
  /** i32[1]: the next span that nobody has taken. */
  readonly nextSpan: SharedArrayBuffer
  /** f64[spans][sums]: the sums of each span. */
  readonly sums: SharedArrayBuffer
}

/** What every worker of one merge is given. */
export type MergeTask = SharedWork & {
  readonly kind: 'merge'
  /** The base, then the deltas. */
  readonly layouts: readonly Layout[]
  readonly rule: CombineRule
  readonly optimizer: OptimizerTask | undefined
  readonly shape: BlockShape
  /** The unfinished output: its files exist and have their headers. */
  readonly out: readonly TargetFile[]
}

/** Dot products of deltas: all pairs, or each with itself alone. */
export type CompareTask = SharedWork & {
  readonly kind: 'compare'
  readonly layouts: readonly Layout[]
  readonly pairs: 'all' | 'own'
  /** Every so many tiles one is looked at: 1 compares everything. */
  readonly every: number
}

export type WorkerTask = MergeTask | CompareTask

/** What a worker says: elements done, the end of its work, or why it cannot go on. */
export type MergeNotice =
  | { readonly kind: 'folded'; readonly elements: number }
  | { readonly kind: 'finished' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }

/** The most pieces that a model is cut into: enough to keep many workers equally busy. */
const MAX_SPANS = 64
/** Sums that all spans together may keep: 16 MiB. */
const MAX_SUMS = 2 ** 21

/** A stretch of the model that one worker folds; `end` exclusive. */
export type Span = { readonly first: number; readonly end: number }

/**
 * Cuts a model into spans. They depend on its size and on the count of sums alone: statistics add up
 * span by span, so that they are the same for any number of workers.
 * @param width sums that each span keeps
 */
export function spansOf(elements: number, width: number): Span[] {
  const most = Math.max(1, Math.min(MAX_SPANS, Math.floor(MAX_SUMS / width)))
  const size = Math.ceil(Math.ceil(elements / TILE) / most) * TILE
  const spans: Span[] = []
  for (let first = 0; first < elements; first += size) {
    spans.push({ first, end: Math.min(first + size, elements) })
  }
  return spans
}

/** Room for the sums of a model's spans, and the counter from which workers take spans. */
export function sharedWork(elements: number, width: number): SharedWork & { readonly spans: number } {
  const spans = spansOf(elements, width).length
  const sums = new SharedArrayBuffer(spans * width * Float64Array.BYTES_PER_ELEMENT)
  return { elements, spans, sums, nextSpan: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT) }
}

/** Hands out spans that nobody has taken until none is left, and keeps the sums that `fold` returns for each. */
export function takeSpans(work: SharedWork, width: number, fold: (span: Span) => Float64Array): void {
  const spans = spansOf(work.elements, width)
  const next = new Int32Array(work.nextSpan)
  const sums = new Float64Array(work.sums)
  for (;;) {
    const index = Atomics.add(next, 0, 1)
    const span = spans[index]
    if (span === undefined) return
    sums.set(fold(span), index * width)
  }
}

/** The sums of all spans, added in their order. */
export function addSpans(work: SharedWork, width: number): Float64Array {
  const rows = new Float64Array(work.sums)
  const total = new Float64Array(width)
  for (let at = 0; at < rows.length; at += 1) total[at % width]! += rows[at]!
  return total
}
