import type { Clock } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import type { RunId } from '../core/ids.ts'
import { RoundService, type WatchRoundsResponse } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { NodeClient } from './client.ts'
import { tellDeparture } from './leave.ts'
import { type NodeContext, openNodeContext } from './node-context.ts'
import type { NodeDirectory } from './node-directory.ts'
import type { NodeEvent } from './node-event.ts'
import { type Backoff, isPassing, pause, waitAfter } from './retry.ts'
import { parseRoundView, type RoundView } from './round-view.ts'
import { type EndedRound, isFatal, RunWorker } from './run-worker.ts'
import { tellPaused } from './stand-aside.ts'
import type { Trainer } from './trainer.ts'

export type RunNodeOptions = {
  readonly directory: NodeDirectory
  readonly client: NodeClient
  readonly trainer: Trainer
  readonly clock: Clock
  /** Aborting stops the node; it goes on where it was when it is started again. */
  readonly signal: AbortSignal
  /** Take part in this run only. */
  readonly run?: RunId
  /** End after this many rounds that the node took part in have ended. */
  readonly rounds?: number
  readonly onEvent?: (event: NodeEvent) => void
  readonly backoff?: Backoff
}

export type RunNodeResult = {
  readonly finished: number
  /** `last`: the runs that this node took part in have no further rounds. `left`: so has the node, and its coordinator knows. */
  readonly because: 'rounds' | 'last' | 'left' | 'stopped'
}

/** Between attempts to reach a coordinator: at most half a minute, so that a node is back soon after its network. */
const BACKOFF: Backoff = { baseMs: 500, capMs: 30_000, random: Math.random }
/** Certificates last a day and are renewed at two thirds of it. */
const RENEWAL_CHECK_MS = 10 * 60_000
/** A command of the node's people takes effect within a second. */
const HEED_MS = 1000

/**
 * Takes part in rounds until told otherwise. The coordinator may go away for any time: the node keeps what it has,
 * keeps trying, and goes on. Killed at any point and started again, it goes on where it was.
 * @throws TapestryError FAILED_PRECONDITION when another process runs this node; DATA_INVALID, DISK_FULL,
 *   PERMISSION_DENIED, UNAUTHENTICATED, LEDGER_INCONSISTENT and others that only the node's operator can mend.
 */
export async function runNode(options: RunNodeOptions): Promise<RunNodeResult> {
  const unlock = await options.directory.lock()
  try {
    const { directory, client, trainer, clock, onEvent = () => undefined, backoff = BACKOFF } = options
    const node = await openNodeContext({ directory, client, trainer, clock, backoff, emit: onEvent })
    return await new NodeLoop(node, options).run()
  } finally {
    await unlock()
  }
}

class NodeLoop {
  readonly #node: NodeContext
  readonly #options: RunNodeOptions
  readonly #workers = new Map<RunId, RunWorker>()
  readonly #over = new Map<RunId, { readonly tookPart: boolean }>()
  /** Aborted when the loop ends for any reason; its reason is how. */
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #work = new Set<Promise<void>>()
  #finished = 0
  #because: RunNodeResult['because'] = 'stopped'
  #failure: TapestryError | undefined
  /** What the coordinator was last told about a pause; a node that never paused has nothing to tell. */
  #toldPaused = false

  constructor(node: NodeContext, options: RunNodeOptions) {
    this.#node = node
    this.#options = options
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal])
  }

  async run(): Promise<RunNodeResult> {
    await this.#node.participation.refresh()
    const timer = setInterval(() => this.#renew(), RENEWAL_CHECK_MS)
    const heeding = this.#heedForEver()
    try {
      await this.#watchForEver()
    } catch (error) {
      this.#fail(error)
    } finally {
      clearInterval(timer)
      this.#stop.abort()
      await Promise.all([heeding, ...this.#work])
    }
    // The coordinator may bar a node that leaves before the node has looked.
    if (this.#failure?.code === 'PERMISSION_DENIED' && (await this.#hasLeft())) {
      return { finished: this.#finished, because: 'left' }
    }
    if (this.#failure !== undefined) throw this.#failure
    return { finished: this.#finished, because: this.#because }
  }

  async #watchForEver(): Promise<void> {
    for (let attempt = 0; !this.#signal.aborted; attempt++) {
      try {
        if (await tellDeparture(this.#node.directory, this.#signal)) return this.#end('left')
        await this.#node.log.check(this.#signal)
        await this.#tellPaused()
        await this.#refresh()
        await this.#watch(() => {
          attempt = 0
        })
      } catch (thrown) {
        if (this.#signal.aborted) return
        const error = toTapestryError(thrown)
        if (!isPassing(error) && error.code !== 'INTERNAL' && error.code !== 'RESOURCE_EXHAUSTED') throw error
        const retryInMs = waitAfter(error, attempt, this.#node.backoff)
        this.#node.emit({ type: 'disconnected', error, retryInMs })
        await pause(retryInMs, this.#signal).catch(() => undefined)
      }
    }
  }

  /** Follows what the node's people decide while it runs. */
  async #heedForEver(): Promise<void> {
    const { participation, directory } = this.#node
    while (!this.#signal.aborted) {
      await pause(HEED_MS, this.#signal).catch(() => undefined)
      try {
        if (!(await participation.refresh())) continue
        for (const worker of this.#workers.values()) this.#drive(worker)
        if (participation.departing && (await tellDeparture(directory, this.#signal))) this.#end('left')
        else await this.#tellPaused()
      } catch (thrown) {
        if (!isPassing(toTapestryError(thrown))) this.#fail(thrown)
      }
    }
  }

  async #tellPaused(): Promise<void> {
    const { client, participation } = this.#node
    if (participation.paused === this.#toldPaused) return
    await tellPaused(client, participation.paused, this.#signal)
    this.#toldPaused = participation.paused
  }

  async #hasLeft(): Promise<boolean> {
    await this.#node.participation.refresh()
    return this.#node.participation.departing
  }

  async #watch(onMessage: () => void): Promise<void> {
    const request = { run: this.#options.run ?? '' }
    const messages = this.#node.client.receive(RoundService.method.watchRounds, request, { signal: this.#signal })
    let connected = false
    try {
      for await (const message of messages) {
        onMessage()
        if (!connected) this.#node.emit({ type: 'connected' })
        connected = true
        this.#take(message)
      }
    } catch (error) {
      // The certificate that this stream began with has ended; another has long been there for the next.
      if (!connected || !(error instanceof TapestryError) || error.code !== 'UNAUTHENTICATED') throw error
    }
    throw new TapestryError('UNAVAILABLE', 'the coordinator ended the watch')
  }

  /** Rounds that ended while nobody watched are not told again: they are asked for. */
  async #refresh(): Promise<void> {
    const live = [...this.#workers.values()].flatMap((worker) => worker.live)
    for (const { key, standing } of live) {
      const response = await this.#node.client
        .call(RoundService.method.getRound, { ref: key }, { signal: this.#signal })
        .catch((error) => {
          if (error instanceof TapestryError && error.code === 'NOT_FOUND') return undefined
          throw error
        })
      if (response !== undefined) this.#observe(parseRoundView(response.round, standing))
    }
  }

  #take(message: WatchRoundsResponse): void {
    let view: RoundView
    try {
      view = parseRoundView(message.round, message.standing)
    } catch (error) {
      this.#node.emit({ type: 'ignored', error: toTapestryError(error) })
      return
    }
    const { run } = this.#options
    if (run === undefined || view.key.run === run) this.#observe(view)
  }

  #observe(view: RoundView): void {
    const worker = this.#workerOf(view.key.run)
    worker.observe(view)
    this.#drive(worker)
  }

  #drive(worker: RunWorker): void {
    worker.heed()
    const work = worker
      .drive()
      .catch((error) => this.#fail(error))
      .finally(() => this.#work.delete(work))
    this.#work.add(work)
  }

  #workerOf(run: RunId): RunWorker {
    const known = this.#workers.get(run)
    if (known !== undefined) return known
    const worker = new RunWorker(this.#node, run, this.#signal, (ended) => this.#onEnded(ended))
    this.#workers.set(run, worker)
    return worker
  }

  #onEnded({ view, tookPart }: EndedRound): void {
    if (tookPart) this.#finished++
    if (view.last) this.#over.set(view.key.run, { tookPart })
    if (tookPart) this.#prune()
    const { rounds, run } = this.#options
    if (rounds !== undefined && this.#finished >= rounds) this.#end('rounds')
    else if (run !== undefined ? this.#over.has(run) : this.#allOver()) this.#end('last')
  }

  /** Runs that were over before this node came say nothing about those to come. */
  #allOver(): boolean {
    const tookPart = [...this.#over.values()].some((over) => over.tookPart)
    return tookPart && [...this.#workers.keys()].every((run) => this.#over.has(run))
  }

  #prune(): void {
    const keep = new Set<Digest>([...this.#workers.values()].flatMap((worker) => [...worker.weights]))
    const work = this.#node.cache
      .prune(keep)
      .catch(() => undefined)
      .finally(() => this.#work.delete(work))
    this.#work.add(work)
  }

  #renew(): void {
    this.#node.client.renewIfDue().then(
      (renewed) => renewed && this.#node.emit({ type: 'certificate-renewed' }),
      (error) => isFatal(toTapestryError(error)) && this.#fail(error),
    )
  }

  #end(because: RunNodeResult['because']): void {
    if (this.#signal.aborted) return
    this.#because = because
    this.#stop.abort()
  }

  #fail(error: unknown): void {
    if (this.#signal.aborted) return
    this.#failure = toTapestryError(error)
    this.#stop.abort()
  }
}
