import { type ChildProcess, fork } from 'node:child_process'
import { assertNever } from '../core/assert.ts'
import { entryPoint } from '../core/entry-point.ts'
import { TapestryError } from '../core/error.ts'
import {
  type EngineResult,
  type EngineTask,
  type Progress,
  parseReply,
  type ScoreResult,
  type ScoreTask,
  type TrainResult,
  type TrainTask,
} from './messages.ts'
import { residentMegabytes } from './resident-memory.ts'

export type EngineLimits = {
  /** From start to result, in milliseconds. */
  readonly wallClockMs: number
  /** Resident memory of the child process; watched on Linux, elsewhere only the JavaScript heap is limited. */
  readonly memoryMb: number
}

export type EngineOptions = {
  readonly limits: EngineLimits
  /** Aborting kills the child. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

/** Memory grows over seconds; one read of /proc takes microseconds. */
const WATCH_INTERVAL_MS = 200
/** Enough of what the child wrote to stderr to tell what killed it. */
const STDERR_CHARACTERS = 2000
/** setTimeout overflows beyond 2^31-1 ms. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1
/** What the child inherits: nothing that could hold a secret. */
const INHERITED = ['PATH', 'TMPDIR', 'TEMP', 'SYSTEMROOT', 'LANG', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH']

/**
 * Runs a task in a child process of low priority, on one thread.
 *
 * A train task writes its delta under a temporary name and renames it: after any failure there is
 * either no file or the previous one. The same task over the same files gives the same bytes on the
 * same kind of machine.
 * @throws TapestryError DATA_INVALID for the node's text; VERIFICATION_FAILED for a plan or weights that do
 *   not fit; INVALID_ARGUMENT for a plan out of bounds; ENGINE_FAILED when training diverges, when the child
 *   is killed (time, memory, signal) or dies; DISK_FULL, NOT_FOUND from writing the delta.
 */
export function runEngine(task: TrainTask, options: EngineOptions): Promise<TrainResult>
export function runEngine(task: ScoreTask, options: EngineOptions): Promise<ScoreResult>
export async function runEngine(task: EngineTask, options: EngineOptions): Promise<EngineResult> {
  if (options.signal?.aborted) throw cancelled(options.signal)
  const outcome = await outcomeOf(startChild(options.limits), task, options)
  if (outcome instanceof TapestryError) throw outcome
  return outcome
}

type Outcome = EngineResult | TapestryError

function startChild({ memoryMb }: EngineLimits): ChildProcess {
  const execArgv = [`--max-old-space-size=${Math.max(64, Math.floor(memoryMb))}`]
  const env = Object.fromEntries(INHERITED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
  return fork(entryPoint('./engine-child', import.meta.url), [], {
    execArgv,
    env,
    serialization: 'json',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
}

/** Resolves once the child is gone, with the first thing that decided how it ended. */
function outcomeOf(child: ChildProcess, task: EngineTask, options: EngineOptions): Promise<Outcome> {
  const { limits, signal } = options
  let outcome: Outcome | undefined
  let stderr = ''
  const settle = (decided: Outcome) => {
    outcome ??= decided
    child.kill('SIGKILL')
  }
  const onAbort = () => settle(cancelled(signal))
  const clock = setTimeout(() => settle(tooLong(limits)), Math.min(limits.wallClockMs, MAX_TIMEOUT_MS))
  const watch = setInterval(() => {
    if (residentMegabytes(child.pid) > limits.memoryMb) settle(tooMuch(limits))
  }, WATCH_INTERVAL_MS)
  signal?.addEventListener('abort', onAbort, { once: true })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS)
  })
  child.on('message', (message) => {
    const decided = decisionOf(message, options)
    if (decided) settle(decided)
  })
  return new Promise((resolve) => {
    const finish = (fallback: TapestryError) => {
      clearTimeout(clock)
      clearInterval(watch)
      signal?.removeEventListener('abort', onAbort)
      resolve(outcome ?? fallback)
    }
    child.once('error', (cause) => finish(failed('the engine could not be started', cause)))
    child.once('close', (code, killer) => finish(failed(`the engine died (${killer ?? `exit ${code}`})`, stderr)))
    child.send(task, (error) => {
      if (error) settle(failed('the engine did not take its task', error))
    })
  })
}

/** What a message of the child decides; undefined for progress, which is passed on. */
function decisionOf(message: unknown, { onProgress }: EngineOptions): Outcome | undefined {
  const reply = parseReply(message)
  if (!reply) return failed('the engine gave an answer that cannot be read')
  switch (reply.type) {
    case 'progress': {
      const { type: _, ...progress } = reply
      onProgress?.(progress)
      return undefined
    }
    case 'failed':
      return new TapestryError(reply.code, reply.message, reply.hint === undefined ? {} : { hint: reply.hint })
    case 'trained':
    case 'scored':
      return reply.result
    default:
      return assertNever(reply)
  }
}

function failed(message: string, cause?: unknown): TapestryError {
  return new TapestryError('ENGINE_FAILED', message, { cause })
}

function cancelled(signal: AbortSignal | undefined): TapestryError {
  return failed('the engine was cancelled', signal?.reason)
}

function tooLong({ wallClockMs }: EngineLimits): TapestryError {
  return new TapestryError('ENGINE_FAILED', `the engine took longer than ${wallClockMs} ms and was stopped`, {
    hint: 'Raise the time limit of the node, or ask for a run with fewer local steps.',
  })
}

function tooMuch({ memoryMb }: EngineLimits): TapestryError {
  return new TapestryError('ENGINE_FAILED', `the engine took more than ${memoryMb} MB of memory and was stopped`, {
    hint: 'Raise the memory limit of the node, or leave runs of this size to larger nodes.',
  })
}
