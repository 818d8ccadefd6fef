import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { LEAN_ENVIRONMENT, LEAN_FLAGS } from './lean-process.ts'

/** A worker that dies at once must not be started in a tight loop. */
const RESTART_MS = 1000
const MAX_RESTART_MS = 60_000

export type WorkerProcesses = {
  /** Starts those that do not run and wakes those that do. Returns at once and never throws. */
  wake(): void
  stop(graceMs: number): Promise<void>
}

export type WorkerProcessOptions = {
  readonly dir: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly log: Logger
  /** The program to run; this one by default. */
  readonly entry?: string
}

/**
 * Up to `count` worker processes beside the coordinator, so that no merge ever runs in the process that serves. They
 * are started by the first wake and end by themselves when nothing was to do for a while: a coordinator at rest, which
 * is where it spends the hours in which nodes train, is one process. They end with their parent, too: each holds a
 * pipe to it, through which it is woken, and stops when it closes.
 *
 * One that dies is started again by the next wake, and a job wakes every second until it is done; only the more often
 * they die, the longer is the pause.
 */
export function startWorkerProcesses(count: number, options: WorkerProcessOptions): WorkerProcesses {
  const children = new Set<ChildProcess>()
  let stopping = false
  let pauseMs = RESTART_MS
  let notBefore = 0

  function start(): void {
    const child = spawnWorker(options)
    const startedAt = Date.now()
    children.add(child)
    const ended = (how: object) => {
      if (!children.delete(child) || stopping) return
      notBefore = Date.now() + pauseMs
      options.log.warn({ ...how, restartInMs: pauseMs }, 'a worker ended: another takes its place')
      pauseMs = Date.now() - startedAt > MAX_RESTART_MS ? RESTART_MS : Math.min(pauseMs * 2, MAX_RESTART_MS)
    }
    child.once('error', (error) => ended({ err: error }))
    child.once('exit', (code, signal) => {
      if (code !== 0) return ended({ code, signal })
      children.delete(child)
      pauseMs = RESTART_MS
    })
  }

  return {
    wake() {
      if (stopping) return
      for (const child of children) child.stdin?.write('\n')
      if (Date.now() < notBefore) return
      while (children.size < count) start()
    },
    async stop(graceMs) {
      stopping = true
      await Promise.all([...children].map((child) => end(child, graceMs)))
    },
  }
}

function spawnWorker({ dir, env, entry = workerEntry() }: WorkerProcessOptions): ChildProcess {
  const child = spawn(process.execPath, [...LEAN_FLAGS, entry, 'worker', '--dir', dir], {
    env: { ...LEAN_ENVIRONMENT, ...env, TAPESTRY_PARENT_PIPE: '1' },
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  // It may end just as it is woken.
  child.stdin?.on('error', () => {})
  return child
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
