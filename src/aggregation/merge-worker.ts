import { parentPort, workerData } from 'node:worker_threads'
import { toTapestryError } from '../core/error.ts'
import { runPass } from './merge-pass.ts'
import type { MergeNotice, WorkerTask } from './merge-task.ts'

const port = parentPort
if (port !== null) {
  const say = (notice: MergeNotice) => port.postMessage(notice)
  const task: WorkerTask = workerData
  const onBlock = (elements: number) => say({ kind: 'folded', elements })
  try {
    runPass(task, onBlock)
    say({ kind: 'finished' })
  } catch (thrown) {
    const { code, message, cause } = toTapestryError(thrown)
    const detail = code === 'INTERNAL' && cause instanceof Error ? cause.message : message
    say({ kind: 'failed', code, message: detail })
  }
}
