import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { coordinatorPaths } from '../../src/cli/coordinator-directory.ts'
import { readProcesses, treeOf } from '../../src/cli/demo/process-table.ts'
import { PATIENCE_MS, until } from './waiting.ts'

const BIN = fileURLToPath(new URL('../../bin/tapestry', import.meta.url))

/** What a finished command left. */
export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** A line that a service or node wrote to stdout, parsed. */
export type Line = Readonly<Record<string, unknown>>

const lineSchema: z.ZodType<Line> = z.record(z.string(), z.unknown())

/** A user's machine with nothing set up: a home of its own, and no settings of whoever runs the tests. */
export function homeEnvironment(home: string): NodeJS.ProcessEnv {
  const foreign = /^(TAPESTRY_|XDG_|DATABASE_URL$|REDIS_URL$|PG[A-Z]+$|NODE_OPTIONS$|VITEST)/
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name))
  return { ...Object.fromEntries(kept), HOME: home, NO_COLOR: '1' }
}

/** Runs `tapestry` to its end, as a user would. */
export async function tapestry(
  args: readonly string[],
  options: { readonly home: string; readonly input?: string; readonly env?: NodeJS.ProcessEnv; readonly cwd?: string },
  patienceMs = 2 * PATIENCE_MS,
): Promise<Finished> {
  const child = spawn(process.execPath, [BIN, ...args], {
    env: { ...homeEnvironment(options.home), ...options.env },
    cwd: options.cwd ?? options.home,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  const hang = setTimeout(() => child.kill('SIGKILL'), patienceMs)
  child.once('exit', () => clearTimeout(hang))
  const [stdout, stderr, code] = await Promise.all([textOf(child.stdout), textOf(child.stderr), exitOf(child)])
  return { code, stdout, stderr }
}

/** Runs a command with --json that must succeed. @returns its answer, parsed by `schema`. */
export async function tapestryJson<T>(
  schema: z.ZodType<T>,
  args: readonly string[],
  options: Parameters<typeof tapestry>[1],
): Promise<T> {
  const finished = await tapestry([...args, '--json'], options)
  if (finished.code !== 0) throw new Error(`${args.join(' ')} ended with ${finished.code}: ${finished.stderr}`)
  return schema.parse(JSON.parse(finished.stdout))
}

/** A `tapestry` process that goes on until it is ended, with --json lines on stdout. */
export class Service {
  readonly name: string
  readonly exited: Promise<number | null>
  readonly lines: Line[] = []
  readonly #child: ChildProcess
  readonly #onLine: (line: Line) => void
  #stderr = ''

  constructor(
    name: string,
    args: readonly string[],
    options: { readonly home: string; readonly env?: NodeJS.ProcessEnv; readonly onLine?: (line: Line) => void },
  ) {
    this.name = name
    this.#onLine = options.onLine ?? (() => undefined)
    this.#child = spawn(process.execPath, [BIN, ...args, '--json'], {
      env: { ...homeEnvironment(options.home), ...options.env },
      cwd: options.home,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.exited = exitOf(this.#child)
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr = `${this.#stderr}${bytes}`.slice(-20_000)
    })
    if (this.#child.stdout) createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(line))
  }

  #take(line: string): void {
    const parsed = lineSchema.parse(JSON.parse(line))
    this.lines.push(parsed)
    this.#onLine(parsed)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** The end of what it wrote to stderr, for messages. */
  get stderr(): string {
    return this.#stderr
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** Waits for a line. @throws when the process ends without it. */
  line(what: string, wanted: (line: Line) => boolean): Promise<Line> {
    return until(`${this.name}: ${what}`, () => {
      const found = this.lines.find(wanted)
      if (found === undefined && this.hasExited) throw new Error(`${this.name} ended before ${what}: ${this.#stderr}`)
      return found
    })
  }

  /** SIGTERM, and the end of it. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM')
    return this.exited
  }

  /** SIGKILL to the process and everything that descends from it, all at once. */
  async kill(): Promise<void> {
    if (this.hasExited) return
    // Stopped first: nothing may be started while the tree is read.
    this.#child.kill('SIGSTOP')
    const tree = treeOf(this.pid, await readProcesses())
    for (const { pid } of tree) killNow(pid)
    await this.exited
  }
}

/** SIGKILL to the database server of a coordinator's directory. */
export async function killPostgres(directory: string): Promise<void> {
  const [pid] = (
    await readFile(join(coordinatorPaths(directory).postgres, 'postgres', 'postmaster.pid'), 'utf8')
  ).split('\n')
  killNow(Number(pid))
}

function killNow(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 1) throw new Error(`not a process to kill: ${pid}`)
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code))
  })
}

async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString('utf8')
}
