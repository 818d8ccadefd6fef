import type { BlockShape } from './block-folder.ts'
import { TILE } from './block-folder.ts'
import type { Layout } from './merge-layout.ts'

/** What every worker of one merge is given. */
export type MergeTask = {
  /** The base, then the deltas. */
  readonly layouts: readonly Layout[]
  readonly weights: readonly number[]
  readonly shape: BlockShape
  /** The unfinished output, which exists and has its header. */
  readonly path: string
  readonly dataBegin: number
  /** Elements of the model. */
  readonly elements: number
  /** i32[1]: the next span that nobody has taken. */
  readonly nextSpan: SharedArrayBuffer
  /** f64[spans][sums]: the sums of each span. */
  readonly sums: SharedArrayBuffer
}

/** What a worker says: elements done, the end of its work, or why it cannot go on. */
export type MergeNotice =
  | { readonly kind: 'folded'; readonly elements: number }
  | { readonly kind: 'finished' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }

/** The most pieces that a model is cut into: enough to keep many workers equally busy. */
const MAX_SPANS = 64

/** A stretch of the model that one worker folds; `end` exclusive. */
export type Span = { readonly first: number; readonly end: number }

/**
 * Cuts a model into spans. They depend on its size alone: statistics add up span by span, so
 * that they are the same for any number of workers.
 */
export function spansOf(elements: number): Span[] {
  const size = Math.ceil(Math.ceil(elements / TILE) / MAX_SPANS) * TILE
  const spans: Span[] = []
  for (let first = 0; first < elements; first += size) {
    spans.push({ first, end: Math.min(first + size, elements) })
  }
  return spans
}
