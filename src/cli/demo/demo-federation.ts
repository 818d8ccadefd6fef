import { join } from 'node:path'
import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { Child, type ChildOptions } from './child-process.ts'
import type { NodeText } from './corpus.ts'
import type { DemoLayout } from './demo-layout.ts'
import { databasePid, stopLeftDatabase } from './embedded-database.ts'
import type { MemoryMeter } from './memory-meter.ts'
import { parseShownEvent, type ShownEvent } from './progress.ts'

export const COORDINATOR = 'coordinator'

const SERVING = z.looseObject({ address: z.string(), federation: z.string() })
const INVITATION = z.looseObject({ invitation: z.string() })

/** `name`: of the log, when the command's first two words do not make one. */
type CommandOptions = { readonly name?: string; readonly input?: string; readonly secret?: boolean }

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The processes of the demonstration. Everything it does, it does through the same commands that
 * the reader may type; each leaves a log.
 */
export class DemoFederation {
  readonly #layout: DemoLayout
  readonly #env: Environment
  readonly #meter: MemoryMeter
  readonly #children = new Set<Child>()
  #coordinator: Child | undefined
  #stopping = false
  #fail: (error: unknown) => void = () => undefined
  /** Rejects when the coordinator or a node ends before it should. */
  readonly failed: Promise<never>

  constructor(layout: DemoLayout, env: Environment, meter: MemoryMeter) {
    this.#layout = layout
    this.#env = ownEnvironment(env, layout.config)
    this.#meter = meter
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    // It is raced against, not always: a failure while nobody looks must not end the process.
    this.failed.catch(() => undefined)
    process.once('exit', this.#leaveAll)
  }

  /** Makes the federation and serves it on a free port. */
  async startCoordinator(): Promise<{ readonly address: string; readonly federation: string }> {
    const dir = ['--dir', this.#layout.coordinator]
    await this.command(['coordinator', 'init', ...dir, '--name', 'Demonstration'])
    const args = ['coordinator', 'serve', ...dir, '--host', '127.0.0.1', '--port', '0', '--json']
    const listening = new Promise<string>((onLine) => {
      this.#coordinator = this.#start({ name: COORDINATOR, args, onLine })
      this.#follow(COORDINATOR, this.#coordinator)
    })
    const serving = SERVING.parse(parseLine(await Promise.race([listening, this.failed])))
    const database = databasePid(this.#layout.coordinator)
    if (database !== undefined) this.#meter.follow(COORDINATOR, database)
    return serving
  }

  /** Invites a node and lets it join with its text: the participant's first command. */
  async join({ node, directory }: NodeText): Promise<void> {
    const dir = ['--dir', this.#layout.coordinator]
    const invite = ['invite', 'create', ...dir, '--member', `${node}-owner`, '--json']
    const answer = await this.command(invite, { secret: true })
    const { invitation } = INVITATION.parse(parseLine(answer))
    const where = ['--dir', join(this.#layout.nodes, node), '--data', directory, '--name', node]
    await this.command(['node', 'join', ...where, '--invitation-file', '-'], { name: node, input: `${invitation}\n` })
  }

  /** Lets a node take part: the participant's second command. */
  run(node: string, rounds: number, onEvent: (event: ShownEvent) => void): void {
    const args = ['node', 'run', '--dir', join(this.#layout.nodes, node), '--rounds', String(rounds), '--json']
    const onLine = (line: string) => {
      const event = parseShownEvent(line)
      if (event !== undefined) onEvent(event)
    }
    const child = this.#start({ name: node, args, onLine })
    this.#follow(node, child)
  }

  /** Runs one command to its end. @returns the last line of its stdout. @throws TapestryError when it fails. */
  async command(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    const name = options.name ?? args.slice(0, 2).join('-')
    const child = this.#start({ ...options, name, args })
    const { code } = await Promise.race([child.exited, this.failed])
    this.#children.delete(child)
    if (code !== 0) throw await child.failure()
    return child.lastLine
  }

  /** Ends what still runs: nodes first, the coordinator last. Can be called twice. */
  async stop(): Promise<void> {
    this.#stopping = true
    const others = [...this.#children].filter((child) => child !== this.#coordinator)
    await Promise.all(others.map((child) => child.stop()))
    await this.#coordinator?.stop()
    stopLeftDatabase(this.#layout.coordinator)
    this.#children.clear()
    process.off('exit', this.#leaveAll)
  }

  #start(options: Omit<ChildOptions, 'log' | 'env'>): Child {
    if (this.#stopping) throw new TapestryError('UNAVAILABLE', 'the demonstration is ending')
    const child = new Child({ ...options, log: join(this.#layout.logs, `${options.name}.log`), env: this.#env })
    this.#children.add(child)
    return child
  }

  /** Measures a process, and fails the demonstration when it ends with an error. */
  #follow(name: string, child: Child): void {
    this.#meter.follow(name, child.pid)
    child.exited.then(async ({ code }) => {
      if (code !== 0 && !this.#stopping) this.#fail(await child.failure())
    })
  }

  readonly #leaveAll = () => {
    for (const child of this.#children) child.leave()
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (cause) {
    throw new TapestryError('INTERNAL', `not JSON: ${line.slice(0, 200)}`, { cause })
  }
}

/** What the user set for coordinators and nodes of their own must not reach the demonstration's. */
function ownEnvironment(env: Environment, config: string): Environment {
  const foreign = /^(TAPESTRY_|DATABASE_URL$|REDIS_URL$|PG[A-Z]+$)/
  const kept = Object.entries(env).filter(([name]) => !foreign.test(name))
  return { ...Object.fromEntries(kept), XDG_CONFIG_HOME: config }
}
