import { setPriority } from 'node:os'
import { TapestryError, toTapestryError } from '../core/error.ts'
import { parseTask, type Reply } from './messages.ts'
import { runScore, runTrain } from './tasks.ts'

/**
 * The child process that runs one task and ends. ONNX Runtime blocks its thread and cannot be
 * interrupted; here the parent can always kill it, and whatever goes wrong in native code ends here.
 */

/** Below interactive work: a node's machine stays usable. */
const LOW_PRIORITY = 10

/** Sends and waits until the message has left, since the process ends after the last one. */
function send(reply: Reply): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) resolve()
    else process.send(reply, undefined, {}, () => resolve())
  })
}

async function run(message: unknown): Promise<Reply> {
  const task = parseTask(message)
  if (!task) throw new TapestryError('INVALID_ARGUMENT', 'not an engine task')
  if (task.kind === 'score') return { type: 'scored', result: await runScore(task) }
  const result = await runTrain(task, (progress) => void send({ type: 'progress', ...progress }))
  return { type: 'trained', result }
}

/** What is ours keeps its code; anything else, such as an error of ONNX Runtime, is the engine's. */
function failure(thrown: unknown): Reply {
  if (thrown instanceof TapestryError) {
    const { code, message, hint } = thrown
    return { type: 'failed', code, message, hint }
  }
  const { cause } = toTapestryError(thrown)
  const detail = cause instanceof Error ? cause.message : 'unknown'
  return { type: 'failed', code: 'ENGINE_FAILED', message: `the engine failed: ${detail}`.slice(0, 500) }
}

process.once('disconnect', () => process.exit(1))
process.once('message', (message) => {
  run(message)
    .catch(failure)
    .then(send)
    .finally(() => process.exit(0))
})

try {
  setPriority(LOW_PRIORITY)
} catch {
  // Some containers forbid it; the work is the same at normal priority.
}
