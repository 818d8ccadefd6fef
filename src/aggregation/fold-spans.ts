import { closeSync, openSync } from 'node:fs'
import { arenaBytes, BlockFolder, sumCount } from './block-folder.ts'
import { createArena } from './kernels/arena.ts'
import { type MergeTask, spansOf } from './merge-task.ts'
import { TensorReader } from './tensor-reader.ts'

/**
 * Takes spans of a merge that nobody has taken, one after the other, until none is left. Blocks the
 * thread. @throws TapestryError NOT_FOUND, DATA_INVALID, DISK_FULL, RESOURCE_EXHAUSTED
 */
export function foldSpans(task: MergeTask, onBlock: (elements: number) => void): void {
  const reader = new TensorReader(task.layouts)
  try {
    const file = openSync(task.path, 'r+')
    try {
      const target = { path: task.path, file, dataBegin: task.dataBegin }
      const arena = createArena(arenaBytes(task.shape, task.weights.length))
      takeSpans(task, new BlockFolder(arena, reader, task.weights, task.shape, target), onBlock)
    } finally {
      closeSync(file)
    }
  } finally {
    reader.close()
  }
}

function takeSpans(task: MergeTask, folder: BlockFolder, onBlock: (elements: number) => void): void {
  const spans = spansOf(task.elements)
  const next = new Int32Array(task.nextSpan)
  const width = sumCount(task.weights.length)
  const sums = new Float64Array(task.sums)
  for (;;) {
    const index = Atomics.add(next, 0, 1)
    const span = spans[index]
    if (span === undefined) return
    sums.set(folder.fold(span.first, span.end, onBlock), index * width)
  }
}
