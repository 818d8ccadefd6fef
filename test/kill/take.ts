import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { connectOperator } from '../../src/cli/operator-client.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Digest } from '../../src/core/digest.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { openNodeClient } from '../../src/participant/client.ts'
import { runNode } from '../../src/participant/loop.ts'
import { openNodeDirectory } from '../../src/participant/node-directory.ts'
import type { NodeEvent } from '../../src/participant/node-event.ts'
import { openStore } from '../../src/store/prisma-store.ts'
import { Service } from '../e2e/processes.ts'
import { copyTemplate, NODES, RUN, storageOf, type Template } from './federation.ts'
import { STUB_TRAINER } from './stub-trainer.ts'

/** What can be killed: two replicas, and a worker on the directory of each. */
export const VICTIMS = ['replica a', 'replica b', 'worker a', 'worker b'] as const
export type Victim = (typeof VICTIMS)[number]

/** Told everything that happens at the nodes; kills by SIGKILL, and starts again what it killed. */
export type Disturb = (event: NodeEvent, kill: (victim: Victim, downMs: number) => void) => void

/** How a run of rounds ended. */
export type Outcome = {
  /** The checkpoint of each round; null where none was published. */
  readonly checkpoints: readonly (Digest | null)[]
  /** Contributions that a node was told are accepted and that their round's merge does not hold. */
  readonly lost: readonly string[]
  readonly kills: number
  readonly wallMs: number
}

/** Nothing in a round takes so long; the windows of a round would hide a node that was left behind. */
const STALL_MS = 100_000
const KEPT_EVENTS = 60
const TINY_BACKOFF = { baseMs: 50, capMs: 1000, random: Math.random }

/** Takes a copy of a federation through all its rounds with real processes. The nodes live in this one, and live on. */
export async function take(template: Template, root: string, disturb: Disturb): Promise<Outcome> {
  const database = await copyTemplate(template, root)
  const processes = new Processes(template, root, database.url)
  const accepted = new Map<number, Digest[]>()
  const stop = new AbortController()
  try {
    await processes.startAll()
    const startedAt = Date.now()
    const watch = new StallWatch(() => processes.stderr)
    const onEvent = (node: string) => (event: NodeEvent) => {
      watch.note(node, event)
      if (event.type === 'accepted') {
        accepted.set(event.key.number, [...(accepted.get(event.key.number) ?? []), event.contribution])
      }
      disturb(event, (victim, downMs) => processes.kill(victim, downMs))
    }
    const nodes = NODES.map(({ name }) => runOne(join(root, name), onEvent(name), stop.signal))
    await startRounds(root)
    await Promise.race([Promise.all(nodes), processes.failure, watch.stalled]).finally(() => watch.end())
    const wallMs = Date.now() - startedAt
    return { ...(await published(database.url, accepted)), kills: processes.kills, wallMs }
  } finally {
    stop.abort()
    await processes.stopAll()
    await database.drop()
    await rm(root, { recursive: true, force: true })
  }
}

async function runOne(path: string, onEvent: (event: NodeEvent) => void, signal: AbortSignal): Promise<void> {
  const directory = await openNodeDirectory(path)
  const client = await openNodeClient(directory, systemClock)
  const usual = { directory, client, clock: systemClock, backoff: TINY_BACKOFF }
  try {
    await runNode({ ...usual, trainer: STUB_TRAINER, run: RUN, signal, onEvent })
  } finally {
    client.close()
  }
}

async function startRounds(root: string): Promise<void> {
  const operator = await connectOperator({ dir: join(root, 'a') }, {})
  try {
    await operator.call(OperatorService.method.startRound, { run: RUN })
  } finally {
    operator.close()
  }
}

async function published(url: string, accepted: ReadonlyMap<number, readonly Digest[]>) {
  const store = await openStore({ url })
  try {
    const rounds = (await store.reader.rounds({ run: RUN, limit: 10_000 })).toReversed()
    const lost: string[] = []
    for (const { key } of rounds) {
      const held = new Set((await store.reader.contributions(key)).map(({ id }) => id))
      for (const id of accepted.get(key.number) ?? []) if (!held.has(id)) lost.push(`round ${key.number}: ${id}`)
    }
    return { checkpoints: rounds.map(({ round }) => ('checkpoint' in round ? round.checkpoint : null)), lost }
  } finally {
    await store.close()
  }
}

/** Notices when nothing happens any more, and then tells what last did. */
class StallWatch {
  readonly #events: string[] = []
  readonly #stderr: () => string
  #fail: (error: Error) => void = () => undefined
  #timer: NodeJS.Timeout | undefined
  readonly stalled = new Promise<never>((_, reject) => {
    this.#fail = reject
  })

  constructor(stderr: () => string) {
    this.#stderr = stderr
    this.#arm()
  }

  note(node: string, event: NodeEvent): void {
    this.#arm()
    if (event.type === 'uploading' || event.type === 'downloading' || event.type === 'training') return
    const round = 'key' in event ? ` ${event.key.number}` : ''
    const more = 'error' in event ? ` ${event.error}` : 'view' in event ? ` ${event.view.phase}` : ''
    this.#events.push(`${new Date().toISOString()} ${node}:${round} ${event.type}${more}`)
    if (this.#events.length > KEPT_EVENTS) this.#events.shift()
  }

  end(): void {
    clearTimeout(this.#timer)
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const what = [`nothing happened for ${STALL_MS} ms; last:`, ...this.#events, this.#stderr()]
      this.#fail(new Error(what.join('\n')))
    }, STALL_MS)
  }
}

/** The processes of a coordinator, each started again after it was killed. */
class Processes {
  readonly #template: Template
  readonly #root: string
  readonly #databaseUrl: string
  readonly #running = new Map<Victim, Service>()
  readonly #restarts = new Map<Victim, Promise<void>>()
  #fail: (error: unknown) => void = () => undefined
  /** Rejects when something that was killed did not come back. */
  readonly failure = new Promise<never>((_, reject) => {
    this.#fail = reject
  })
  kills = 0
  #stopping = false

  constructor(template: Template, root: string, databaseUrl: string) {
    this.#template = template
    this.#root = root
    this.#databaseUrl = databaseUrl
    this.failure.catch(() => undefined)
  }

  async startAll(): Promise<void> {
    await Promise.all(VICTIMS.map((victim) => this.#start(victim)))
  }

  /** The end of what each process wrote to stderr. */
  get stderr(): string {
    return [...this.#running].map(([victim, { stderr }]) => `${victim}: ${stderr.slice(-2000)}`).join('\n')
  }

  /** At once, and only what is up: a second kill while it is down would kill nothing. */
  kill(victim: Victim, downMs: number): void {
    const service = this.#running.get(victim)
    if (service === undefined || this.#stopping) return
    this.#running.delete(victim)
    this.kills++
    const restart = service
      .kill()
      .then(() => new Promise((resolve) => setTimeout(resolve, downMs)))
      .then(() => (this.#stopping ? undefined : this.#start(victim)))
    this.#restarts.set(
      victim,
      restart.catch((error) => this.#fail(error)),
    )
  }

  async stopAll(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#restarts.values())
    await Promise.all([...this.#running.values()].map((service) => service.kill()))
  }

  async #start(victim: Victim): Promise<void> {
    const replica = victim.endsWith('a') ? 'a' : 'b'
    const port = String(this.#template.ports[replica === 'a' ? 0 : 1])
    const dir = ['--dir', join(this.#root, replica)]
    const args = victim.startsWith('worker')
      ? ['worker', ...dir]
      : ['coordinator', 'serve', ...dir, '--port', port, '--workers', '0']
    const env = { DATABASE_URL: this.#databaseUrl, TAPESTRY_STORAGE: storageOf(this.#root) }
    const service = new Service(victim, args, { home: this.#root, env })
    this.#running.set(victim, service)
    if (victim.startsWith('worker')) return
    await service
      .line('serves', (line) => 'address' in line)
      .catch((error: unknown) => {
        // Killed before it served: whoever killed it starts it again.
        if (this.#running.get(victim) === service) throw error
      })
  }
}
