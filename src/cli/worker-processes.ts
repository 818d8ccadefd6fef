import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'

/** A worker that dies at once must not be started in a tight loop. */
const RESTART_MS = 1000
const MAX_RESTART_MS = 60_000

export type WorkerProcesses = { stop(graceMs: number): Promise<void> }

/**
 * Keeps `count` worker processes running beside the coordinator, so that no merge ever runs in the
 * process that serves. They end with their parent: each holds a pipe to it and stops when it closes.
 */
export function startWorkerProcesses(
  count: number,
  options: { readonly dir: string; readonly env: Readonly<Record<string, string | undefined>>; readonly log: Logger },
): WorkerProcesses {
  let stopping = false
  const children = new Set<ChildProcess>()
  const timers = new Set<NodeJS.Timeout>()

  function start(delayMs: number): void {
    const child = spawn(process.execPath, [workerEntry(), 'worker', '--dir', options.dir], {
      env: { ...options.env, TAPESTRY_PARENT_PIPE: '1' },
      stdio: ['pipe', 'inherit', 'inherit'],
    })
    const startedAt = Date.now()
    children.add(child)
    child.stdin?.on('error', () => {})
    child.once('error', (error) => options.log.error({ err: error }, 'a worker could not be started'))
    child.once('exit', (code, signal) => {
      children.delete(child)
      if (stopping) return
      const next = Date.now() - startedAt > MAX_RESTART_MS ? RESTART_MS : Math.min(delayMs * 2, MAX_RESTART_MS)
      options.log.warn({ code, signal, restartInMs: delayMs }, 'a worker ended: starting another')
      const timer = setTimeout(() => {
        timers.delete(timer)
        start(next)
      }, delayMs)
      timers.add(timer)
    })
  }

  for (let index = 0; index < count; index += 1) start(RESTART_MS)
  return {
    async stop(graceMs) {
      stopping = true
      for (const timer of timers) clearTimeout(timer)
      await Promise.all([...children].map((child) => end(child, graceMs)))
    },
  }
}

function workerEntry(): string {
  return fileURLToPath(new URL('../../bin/tapestry', import.meta.url))
}

function end(child: ChildProcess, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => child.kill('SIGKILL'), graceMs)
    child.once('exit', () => {
      clearTimeout(force)
      resolve()
    })
    child.kill('SIGTERM')
  })
}
