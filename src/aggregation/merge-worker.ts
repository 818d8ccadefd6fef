import { parentPort, workerData } from 'node:worker_threads'
import { toTapestryError } from '../core/error.ts'
import { compareSpans } from './compare-spans.ts'
import { foldSpans } from './fold-spans.ts'
import type { MergeNotice, WorkerTask } from './merge-task.ts'

const port = parentPort
if (port !== null) {
  const say = (notice: MergeNotice) => port.postMessage(notice)
  const task: WorkerTask = workerData
  const onBlock = (elements: number) => say({ kind: 'folded', elements })
  try {
    if (task.kind === 'merge') foldSpans(task, onBlock)
    else compareSpans(task, onBlock)
    say({ kind: 'finished' })
  } catch (thrown) {
    const { code, message, cause } = toTapestryError(thrown)
    const detail = code === 'INTERNAL' && cause instanceof Error ? cause.message : message
    say({ kind: 'failed', code, message: detail })
  }
}
