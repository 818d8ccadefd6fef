import { availableParallelism } from 'node:os'
import { compareSpans } from './compare-spans.ts'
import { foldSpans } from './fold-spans.ts'
import type { WorkerTask } from './merge-task.ts'

/** Elements of all inputs together that are folded sooner than a thread has started: some 4 MB. */
const SMALL_ELEMENTS = 2 ** 20

/** Takes spans of a pass until none is left. Blocks the thread. @throws TapestryError as {@link foldSpans} */
export function runPass(task: WorkerTask, onBlock: (elements: number) => void): void {
  if (task.kind === 'merge') foldSpans(task, onBlock)
  else compareSpans(task, onBlock)
}

/** Threads that a pass is worth when nobody said how many: none for a small one, which is run where it is asked for. */
export function threadsFor({ elements, layouts }: WorkerTask): number {
  return elements * layouts.length <= SMALL_ELEMENTS ? 0 : Math.min(2, availableParallelism())
}
