import { parentPort, workerData } from 'node:worker_threads'
import { toTapestryError } from '../core/error.ts'
import { foldSpans } from './fold-spans.ts'
import type { MergeNotice } from './merge-task.ts'

const port = parentPort
if (port !== null) {
  const say = (notice: MergeNotice) => port.postMessage(notice)
  try {
    foldSpans(workerData, (elements) => say({ kind: 'folded', elements }))
    say({ kind: 'finished' })
  } catch (thrown) {
    const { code, message, cause } = toTapestryError(thrown)
    const detail = code === 'INTERNAL' && cause instanceof Error ? cause.message : message
    say({ kind: 'failed', code, message: detail })
  }
}
