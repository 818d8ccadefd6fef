import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import type { Context } from '../../src/context.ts'
import { ensureChannelName, ensureRunId } from '../../src/core/ids.ts'
import { sweep } from '../../src/jobs/sweep.ts'
import { workUntilIdle } from '../../src/jobs/worker.ts'
import { openNextRound } from '../../src/store/advance.ts'
import { openBlobs } from '../../src/store/blobs.ts'
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts'
import { publishInitialCheckpoint } from '../../src/store/publish.ts'
import type { RoundRow, RunRow } from '../../src/store/records.ts'
import { CLUSTER_VARIABLE } from '../postgres.ts'
import { TEST_PLAN, TEST_POLICY, type TestCoordinator } from '../rounds.ts'
import { Activity } from './activity.ts'
import type { Dice } from './dice.ts'
import { contextFor, type Weather } from './faults.ts'
import { SimulatedNode } from './node.ts'
import { NOTHING_WRONG, type Spoil } from './spoil.ts'
import { Tally } from './tally.ts'

/** Milliseconds of simulated time. Renewals run on real time, so the lease is one that no schedule lasts as long as. */
export const LEASE_MS = 60_000
export const WINDOW_MS = 120_000
const REPLICAS = 2
/** In memory where there is such a place: no schedule loses power, and syncing to a real disk is what they would wait for. */
const BLOBS_UNDER = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const never = new AbortController().signal

/** One federation under simulation: real store, blobs, handlers and jobs; simulated processes, nodes, clock and faults. */
export class SimulatedFederation {
  readonly nodes: readonly SimulatedNode[]
  readonly run: RunRow
  readonly tally = new Tally()
  readonly weather: Weather = { diskFull: false, lostConnections: 0, tally: this.tally }
  /** Wakes under way, as Redis holds them: whatever happens to them, no job may depend on one. */
  readonly queue: string[] = []
  /** Errors that a caller should never see. */
  readonly surprises: string[] = []
  readonly #coordinator: TestCoordinator
  readonly #context: Context
  /** As the simulated processes have it. */
  readonly #spoilt: Context
  readonly #dice: Dice
  #newest: RoundRow | undefined
  readonly #blobs: string
  readonly #calls = new Map<SimulatedNode, Activity[]>()
  /** What each replica is in the middle of. */
  readonly #replicas: Activity[][] = Array.from({ length: REPLICAS }, () => [])

  private constructor(
    coordinator: TestCoordinator,
    parts: { context: Context; blobs: string; run: RunRow; spoil: Spoil },
    dice: Dice,
  ) {
    this.#coordinator = coordinator
    this.#context = parts.context
    this.#blobs = parts.blobs
    this.#dice = dice
    this.#spoilt = this.#noticing(parts.spoil(parts.context))
    this.run = parts.run
    this.nodes = Array.from({ length: dice.between(3, 6) }, (_, index) => new SimulatedNode(index + 1, dice))
  }

  /** Empties the database and sets up a run with its nodes and its first round. */
  static async open(coordinator: TestCoordinator, dice: Dice, spoil = NOTHING_WRONG): Promise<SimulatedFederation> {
    await emptyTables(coordinator.databaseUrl)
    const blobs = await mkdtemp(join(BLOBS_UNDER, 'tapestry-simulation-'))
    const context = { ...coordinator.context, blobs: await openBlobs(blobs) }
    const quorum = dice.between(2, 3)
    const windows = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }
    const policy = { ...TEST_POLICY, ...windows, quorum, target: dice.between(quorum, 5), rounds: dice.between(1, 3) }
    const now = coordinator.clock.now()
    const name = { id: ensureRunId('simulated'), channel: ensureChannelName('simulated'), policy }
    const run = await publishInitialCheckpoint(context, coordinator.signer, name, TEST_PLAN, now)
    const federation = new SimulatedFederation(coordinator, { context, blobs, run, spoil }, dice)
    await context.store.transact('enrol', async (tx) => {
      for (const { row } of federation.nodes) {
        await tx.ensureMember(row.member, now)
        await tx.createNode(row)
      }
      await openNextRound(tx, run.id, now)
    })
    return federation
  }

  get context(): Context {
    return this.#context
  }

  async close(): Promise<void> {
    for (const replica of this.#replicas.keys()) this.kill(replica)
    await rm(this.#blobs, { recursive: true, force: true })
  }

  replicas(): number[] {
    return [...this.#replicas.keys()]
  }

  /** What may take its next step. */
  waiting(): Activity[] {
    return this.#replicas.flat().filter(({ over }) => !over)
  }

  advanceClock(ms: number): void {
    this.#coordinator.clock.advance(ms)
  }

  /** Everything that a replica and its workers were doing stops where it is. */
  kill(replica: number): void {
    const alive = this.#replicas[replica]?.filter(({ over }) => !over) ?? []
    for (const activity of alive) activity.kill()
    this.tally.add('activity killed', alive.length)
    this.#replicas[replica] = []
  }

  /** The database ends every connection, as when it restarts; the store has to find its way back by itself. */
  async cutDatabase(): Promise<void> {
    await administer(this.#coordinator.databaseUrl, (client) =>
      client.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
      ),
    )
    while (!(await this.#context.store.ready())) await delay(1)
  }

  /** The server itself goes away and comes back, with what was committed. */
  async restartDatabase(): Promise<void> {
    const cluster = process.env[CLUSTER_VARIABLE] ?? ''
    await (await startEmbeddedPostgres(cluster, { durable: false })).stop()
    await startEmbeddedPostgres(cluster, { durable: false })
    while (!(await this.#context.store.ready())) await delay(1)
  }

  async newestRound(): Promise<RoundRow> {
    if (this.#newest !== undefined) return this.#newest
    const [round] = await this.#context.store.reader.rounds({ run: this.run.id, limit: 1 })
    if (round === undefined) throw new Error('the run has no round')
    this.#newest = round
    return round
  }

  /** Rounds change by transactions alone, and between two of them every node sees the same. */
  #noticing(context: Context): Context {
    const transact: Context['store']['transact'] = (name, work, isolation) =>
      context.store.transact(name, work, isolation).finally(() => {
        this.#newest = undefined
      })
    return { ...context, store: { ...context.store, transact } }
  }

  /** Whether a node waits for an answer. */
  isBusy(node: SimulatedNode): boolean {
    return this.#callsOf(node).length > 0
  }

  #callsOf(node: SimulatedNode): Activity[] {
    return (this.#calls.get(node) ?? []).filter(({ over }) => !over)
  }

  /** Lets a node begin its next call, if it has one; `copies` of it, as when a client sends it again without waiting. */
  async act(node: SimulatedNode, { copies = 1, round }: { copies?: number; round?: RoundRow } = {}): Promise<boolean> {
    const call = node.next(round ?? (await this.newestRound()), this.#context.federation)
    if (call === undefined) return false
    this.tally.add(call.kind, copies)
    for (let copy = 0; copy < copies; copy += 1) {
      const begun = this.#begin(call.name, async (context, activity) => {
        const learn = await call.perform(context, activity)
        await activity.point('answer on its way')
        learn()
      })
      this.#calls.set(node, [...this.#callsOf(node), begun])
    }
    return true
  }

  /** A worker takes jobs until there are none. */
  work(): void {
    const options = { concurrency: 1, signal: never, leaseMs: LEASE_MS, retryMs: 0, holdMs: LEASE_MS }
    this.#begin('worker', async (context) => {
      await workUntilIdle(context, this.#coordinator.signer, options)
    })
  }

  sweep(): void {
    this.#begin('sweep', (context) => sweep(context, (job) => void this.queue.push(job)))
  }

  #begin(name: string, work: (context: Context, activity: Activity) => Promise<void>): Activity {
    const replica = this.#dice.between(0, REPLICAS - 1)
    const act = (self: Activity) => work(this.#contextFor(self), self)
    const activity = new Activity(name, act, (error) => this.#note(name, error))
    this.#replicas[replica] = [...(this.#replicas[replica] ?? []).filter(({ over }) => !over), activity]
    return activity
  }

  #contextFor(activity: Activity): Context {
    return contextFor(activity, this.#spoilt, this.weather, this.#dice)
  }

  #note(name: string, error: unknown): void {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'none'
    if (!EXPECTED.has(code)) this.surprises.push(`${name}: ${code} ${error instanceof Error ? error.stack : error}`)
  }
}

/**
 * What a client is told while things break, or when it comes too late or too early: it tries again, or gives up.
 * A clock that jumps makes a sender slow: it is cut, and goes on from where it was.
 */
const EXPECTED: ReadonlySet<string> = new Set(['UNAVAILABLE', 'DISK_FULL', 'FAILED_PRECONDITION', 'DEADLINE_EXCEEDED'])

async function emptyTables(url: string): Promise<void> {
  await administer(url, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^_'",
    )
    // A federation that never was: the log's own triggers would keep what is in it.
    await client.query('SET session_replication_role = replica')
    // A few rows in many tables: deleting them is faster than giving every table new files.
    await client.query(rows.map(({ name }) => `DELETE FROM ${name}`).join('; '))
    await client.query(`INSERT INTO ledger_head (id, size, frontier) VALUES (1, 0, '\\x')`)
  })
}

async function administer(url: string, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
