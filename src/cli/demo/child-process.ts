import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { TapestryError } from '../../core/error.ts'
import { LEAN_ENVIRONMENT, LEAN_FLAGS } from '../lean-process.ts'
import { readProcesses, treeOf } from './process-table.ts'

/** This very program. */
export const BIN = fileURLToPath(new URL('../../../bin/tapestry', import.meta.url))

/** Time to end in order: a coordinator stops its database, a node its training. */
const GRACE_MS = 15_000
const DRAIN_MS = 1_000
/** Lines of the log that a failure shows. */
const LAST_LINES = 12

type Environment = Readonly<Record<string, string | undefined>>

export type ChildOptions = {
  readonly name: string
  readonly args: readonly string[]
  /** Its stderr is written here, and its stdout unless that is a secret. */
  readonly log: string
  readonly secret?: boolean
  readonly env: Environment
  readonly input?: string
  readonly onLine?: (line: string) => void
}

/** How a child ended. */
export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/**
 * One `tapestry` process with a log of its own. It leads its own process group, so that Ctrl-C in
 * the terminal reaches this process alone, which then ends the children in order; should this
 * process be killed, the closed IPC channel tells them.
 */
export class Child {
  readonly name: string
  readonly log: string
  readonly exited: Promise<Exit>
  readonly #process: ChildProcess
  readonly #lines: string[] = []
  #ended: Exit | undefined

  constructor({ name, args, log, secret, env, input, onLine }: ChildOptions) {
    this.name = name
    this.log = log
    const sink = createWriteStream(log, { flags: 'a' })
    sink.on('error', () => undefined)
    this.#process = spawn(process.execPath, [...LEAN_FLAGS, BIN, ...args], {
      stdio: ['pipe', 'pipe', 'pipe', 'ipc'],
      detached: true,
      env: { ...LEAN_ENVIRONMENT, ...env },
    })
    this.exited = this.#end(sink)
    this.#process.stdin?.on('error', () => undefined)
    this.#process.stdin?.end(input ?? '')
    this.#process.stderr?.pipe(sink, { end: false })
    if (this.#process.stdout) {
      createInterface({ input: this.#process.stdout }).on('line', (line) => {
        if (secret !== true) sink.write(`${line}\n`)
        this.#lines.push(line)
        onLine?.(line)
        if (this.#lines.length > LAST_LINES) this.#lines.shift()
      })
    }
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** Set once the process has ended. */
  get ended(): Exit | undefined {
    return this.#ended
  }

  /** The last line that it wrote to stdout. */
  get lastLine(): string {
    return this.#lines.at(-1) ?? ''
  }

  /** Asks it to end; insists, with everything that descends from it, when it does not. */
  async stop(): Promise<void> {
    if (this.#ended) return
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#killTree(), GRACE_MS)
    await this.exited
    clearTimeout(timer)
  }

  /** For the exit handler, which cannot wait. The coordinator still has a database to stop: it is asked, not killed. */
  leave(): void {
    if (this.#ended === undefined) this.#process.kill('SIGTERM')
  }

  /** Why it ended, with the last lines of its log. */
  async failure(): Promise<TapestryError> {
    const { code, signal } = await this.exited
    const text = await readFile(this.log, 'utf8').catch(() => '')
    const last = text.trimEnd().split('\n').slice(-LAST_LINES)
    const how = signal === null ? `exit code ${code}` : signal
    return new TapestryError(
      'FAILED_PRECONDITION',
      [`${this.name} ended unexpectedly (${how}); the end of ${basename(this.log)}:`, ...last].join('\n  '),
      { hint: `the whole log is ${this.log}` },
    )
  }

  #end(sink: WriteStream): Promise<Exit> {
    return new Promise((resolve) => {
      const settle = (exit: Exit) => {
        this.#ended = exit
        sink.end(() => resolve(exit))
      }
      this.#process.once('error', (error) => {
        sink.write(`${error.message}\n`)
        settle({ code: 1, signal: null })
      })
      this.#process.once('exit', (code, signal) => {
        // Its own children may hold the pipes open for ever; what it wrote itself arrives at once.
        const timer = setTimeout(() => settle({ code, signal }), DRAIN_MS)
        this.#process.once('close', () => {
          clearTimeout(timer)
          settle({ code, signal })
        })
      })
    })
  }

  async #killTree(): Promise<void> {
    const tree = treeOf(this.pid, await readProcesses())
    for (const { pid } of tree) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended meanwhile.
      }
    }
  }
}
