import { closeSync, openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { toTapestryError } from '../core/error.ts'
import { arenaBytes, BlockFolder, sumCount } from './block-folder.ts'
import { createArena } from './kernels/arena.ts'
import type { MergeNotice, MergeTask } from './merge-task.ts'
import { spansOf } from './merge-task.ts'
import { TensorReader } from './tensor-reader.ts'

/** Takes spans, one after the other, until none is left. */
function work(task: MergeTask, say: (notice: MergeNotice) => void): void {
  const reader = new TensorReader(task.layouts)
  const file = openSync(task.path, 'r+')
  try {
    const target = { path: task.path, file, dataBegin: task.dataBegin }
    const arena = createArena(arenaBytes(task.shape, task.weights.length))
    const folder = new BlockFolder(arena, reader, task.weights, task.shape, target)
    foldSpans(task, folder, (elements) => say({ kind: 'folded', elements }))
  } finally {
    closeSync(file)
    reader.close()
  }
}

function foldSpans(task: MergeTask, folder: BlockFolder, onBlock: (elements: number) => void): void {
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

const port = parentPort
if (port !== null) {
  const say = (notice: MergeNotice) => port.postMessage(notice)
  try {
    work(workerData, say)
    say({ kind: 'finished' })
  } catch (thrown) {
    const { code, message, cause } = toTapestryError(thrown)
    const detail = code === 'INTERNAL' && cause instanceof Error ? cause.message : message
    say({ kind: 'failed', code, message: detail })
  }
}
