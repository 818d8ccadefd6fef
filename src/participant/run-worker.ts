import type { Digest } from '../core/digest.ts'
import { type ErrorCode, type TapestryError, toTapestryError } from '../core/error.ts'
import type { RunId } from '../core/ids.ts'
import { RoundService } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { Phase } from '../round/round.ts'
import { contribute } from './contribute.ts'
import { evaluate } from './evaluate.ts'
import { type Action, nextAction } from './next-action.ts'
import type { NodeContext, WorkSignals } from './node-context.ts'
import { isPassing, pause, waitAfter } from './retry.ts'
import { review } from './review.ts'
import { pruneRounds, RoundFolder } from './round-folder.ts'
import { fetchPlan } from './round-inputs.ts'
import { hasEnded, type NodeStanding, type RoundView } from './round-view.ts'
import { tellDeclined } from './stand-aside.ts'
import { takePart, tellExcluded } from './take-part.ts'

/** A round and what this node has done in it. */
type Tracked = {
  view: RoundView
  standing: NodeStanding
  setAside: Phase | undefined
  /** Whether it was heard of before it ended. */
  seenLive: boolean
  ended: boolean
}

/** Failures that no other phase or round will mend: the operator of the node has to act. */
const FATAL: ReadonlySet<ErrorCode> = new Set([
  'DATA_INVALID',
  'DATA_VERSION',
  'DISK_FULL',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'WRONG_FEDERATION',
  'LEDGER_INCONSISTENT',
  'INVITATION_INVALID',
  'INVITATION_USED',
  'INVITATION_EXPIRED',
])

/** Failures that may be passing ones, such as a coordinator's full disk; after this many in a row they are not. */
const DOUBTFUL: ReadonlySet<ErrorCode> = new Set(['INTERNAL', 'RESOURCE_EXHAUSTED'])
const MAX_DOUBTFUL = 10

export function isFatal(error: TapestryError): boolean {
  return FATAL.has(error.code)
}

export type EndedRound = { readonly view: RoundView; readonly tookPart: boolean }

/** Does a node's part in one run, one piece of work at a time. */
export class RunWorker {
  readonly run: RunId
  readonly #node: NodeContext
  readonly #signal: AbortSignal
  readonly #onEnded: (ended: EndedRound) => void
  readonly #rounds = new Map<number, Tracked>()
  readonly #weights = new Set<Digest>()
  #current: { readonly number: number; readonly phase: Phase; readonly abort: AbortController } | undefined
  /** Ends a wait before the next attempt: there is news, so the coordinator can be reached. */
  #wake = new AbortController()
  #driving = false
  /** Something was heard since the work under way last looked. */
  #news = false

  constructor(node: NodeContext, run: RunId, signal: AbortSignal, onEnded: (ended: EndedRound) => void) {
    this.#node = node
    this.run = run
    this.#signal = signal
    this.#onEnded = onEnded
  }

  /** Weights that this run needs, now or in its next round. */
  get weights(): ReadonlySet<Digest> {
    return this.#weights
  }

  /** Rounds that had not ended when last heard of. */
  get live(): readonly RoundView[] {
    return [...this.#rounds.values()].filter(({ ended }) => !ended).map(({ view }) => view)
  }

  /** Takes in the newest state of a round, stops work that it makes pointless, and does what there is to do. */
  observe(view: RoundView): void {
    const { number } = view.key
    const known = this.#rounds.get(number)
    const standing = later(known?.standing ?? 'none', view.standing)
    const seenLive = known?.seenLive === true || !hasEnded(view)
    this.#rounds.set(number, { setAside: undefined, ended: false, ...known, view, standing, seenLive })
    const current = this.#current
    const movedOn = current?.number === number ? current.phase !== view.phase : (current?.number ?? number) < number
    if (movedOn) current?.abort.abort(new MovedOn())
    this.#wake.abort()
    if (known?.view.phase !== view.phase) this.#node.emit({ type: 'round', key: view.key, view })
  }

  /** Stops work on a round that the node's people do not want any more. */
  heed(): void {
    const { number = 0, abort } = this.#current ?? {}
    if (abort !== undefined && !this.#node.participation.wants({ run: this.run, number })) abort.abort(new MovedOn())
    this.#wake.abort()
  }

  /** Works until there is nothing to do; returns at once when work is under way. @throws fatal TapestryErrors. */
  async drive(): Promise<void> {
    this.#news = true
    if (this.#driving) return
    this.#driving = true
    try {
      while (this.#news) {
        this.#news = false
        await this.#work()
      }
    } finally {
      this.#driving = false
    }
  }

  async #work(): Promise<void> {
    for (let failures = 0; !this.#signal.aborted; ) {
      await this.#finishEnded()
      const next = this.#next()
      if (next === undefined) return
      failures = (await this.#perform(next.tracked, next.action, failures)) ? 0 : failures + 1
    }
  }

  /** The newest round comes first: an older one is about to end. */
  #next(): { readonly tracked: Tracked; readonly action: Action } | undefined {
    const newestFirst = [...this.#rounds.values()].sort((a, b) => b.view.key.number - a.view.key.number)
    for (const tracked of newestFirst) {
      const { phase } = tracked.view
      const wanted = this.#node.participation.wants(tracked.view.key)
      const action = nextAction({ phase, standing: tracked.standing, setAside: tracked.setAside, wanted })
      if (action !== undefined) return { tracked, action }
    }
    return undefined
  }

  /** @returns whether the action succeeded or was given up, and not merely put off. */
  async #perform(tracked: Tracked, action: Action, failures: number): Promise<boolean> {
    const { view } = tracked
    const abort = new AbortController()
    this.#current = { number: view.key.number, phase: view.phase, abort }
    try {
      await this.#act(view, action, { work: AbortSignal.any([this.#signal, abort.signal]), stop: this.#signal })
      return true
    } catch (error) {
      if (this.#signal.aborted) return true
      if (abort.signal.aborted) {
        if (this.#node.participation.wants(view.key)) this.#node.emit({ type: 'too-late', key: view.key, action })
        return true
      }
      return await this.#recover(view, action, toTapestryError(error), failures)
    } finally {
      this.#current = undefined
    }
  }

  async #act(view: RoundView, action: Action, signals: WorkSignals): Promise<void> {
    const folder = new RoundFolder(this.#node.directory, view.key)
    const onWeights = (digest: Digest) => this.#weights.add(digest)
    switch (action) {
      case 'join': {
        // A plan that this node cannot run is found out before others wait for it.
        await fetchPlan(this.#node, view.plan, signals.work)
        await this.#node.log.check(signals.stop)
        const admission = await takePart(this.#node, view, signals.work)
        if (admission === undefined) return this.#aside(view)
        tellExcluded(this.#node, view.key, admission)
        await this.#node.client.call(RoundService.method.joinRound, { ref: view.key }, { signal: signals.stop })
        await folder.prepare()
        this.#stand(view, 'joined')
        this.#node.emit({ type: 'joined', key: view.key })
        return
      }
      case 'contribute': {
        const outcome = await folder.readOutcome()
        if (outcome?.contribution === 'refused' && outcome.base === view.base) return this.#aside(view)
        const answer = await contribute(this.#node, view, folder, signals, onWeights)
        if (answer === 'too-late') this.#node.emit({ type: 'too-late', key: view.key, action })
        if (answer === 'declined') return this.#decline(view, signals)
        if (answer === 'too-late') this.#aside(view)
        else this.#stand(view, answer)
        return
      }
      case 'review':
        await review(this.#node, view, folder, signals, onWeights)
        return this.#aside(view)
      case 'evaluate': {
        const { candidate } = view
        if (candidate === undefined) return this.#aside(view)
        const taken = await evaluate(this.#node, { ...view, candidate }, folder, signals, onWeights)
        if (taken) this.#stand(view, 'evaluated')
        else this.#aside(view)
        return
      }
      case 'decline':
        await this.#decline(view, signals)
        this.#node.emit({ type: 'stood-aside', key: view.key })
    }
  }

  /** The others need not wait. Who declines before the roster is frozen may still join. */
  async #decline(view: RoundView, { stop }: WorkSignals): Promise<void> {
    await tellDeclined(this.#node.client, view.key, stop)
    const tracked = this.#rounds.get(view.key.number)
    if (tracked !== undefined) tracked.standing = view.phase === 'open' ? 'none' : 'declined'
  }

  async #recover(view: RoundView, action: Action, error: TapestryError, failures: number): Promise<boolean> {
    if (isFatal(error)) throw error
    if (isPassing(error) || (DOUBTFUL.has(error.code) && failures < MAX_DOUBTFUL)) {
      const retryInMs = waitAfter(error, failures, this.#node.backoff)
      this.#node.emit({ type: 'retrying', key: view.key, action, error, retryInMs })
      this.#wake = new AbortController()
      await pause(retryInMs, AbortSignal.any([this.#signal, this.#wake.signal])).catch(() => undefined)
      return false
    }
    this.#aside(view)
    this.#node.emit({ type: 'set-aside', key: view.key, action, error })
    return true
  }

  #stand(view: RoundView, standing: NodeStanding): void {
    const tracked = this.#rounds.get(view.key.number)
    if (tracked !== undefined) tracked.standing = later(tracked.standing, standing)
  }

  #aside(view: RoundView): void {
    const tracked = this.#rounds.get(view.key.number)
    if (tracked !== undefined) tracked.setAside = view.phase
  }

  /** Tells the end of rounds that have ended, once, also over restarts. */
  async #finishEnded(): Promise<void> {
    for (const tracked of [...this.#rounds.values()]) {
      if (!hasEnded(tracked.view) || tracked.ended) continue
      tracked.ended = true
      await this.#finish(tracked)
    }
    this.#forget()
  }

  async #finish({ view, standing, seenLive }: Tracked): Promise<void> {
    const folder = new RoundFolder(this.#node.directory, view.key)
    const worked = (await folder.exists()) || (seenLive && standing !== 'none')
    const tookPart = worked && !(await folder.isClosed())
    if (tookPart) {
      await folder.prepare()
      await folder.close(view.phase)
      this.#tell(view)
      await pruneRounds(this.#node.directory, this.run)
      this.#keepNextBase(view)
    }
    this.#onEnded({ view, tookPart })
  }

  /** What was published is the next round's base; otherwise the base stands. */
  #keepNextBase({ phase, candidate }: RoundView): void {
    for (const digest of this.#weights) {
      if ((digest === candidate) !== (phase === 'published')) this.#weights.delete(digest)
    }
  }

  #tell({ key, phase, checkpoint, last, reason }: RoundView): void {
    if (phase === 'published' && checkpoint !== undefined) this.#node.emit({ type: 'published', key, checkpoint, last })
    else if (phase === 'rejected' || phase === 'failed') this.#node.emit({ type: phase, key, reason, last })
  }

  /** Only the newest ended round is kept in mind: a run may have a million. */
  #forget(): void {
    const newest = Math.max(...this.#rounds.keys())
    for (const [number, { ended }] of this.#rounds) if (ended && number < newest) this.#rounds.delete(number)
  }
}

/** Why work was stopped: its round is in another phase. */
class MovedOn extends Error {
  override readonly name = 'MovedOn'
}

const ORDER: readonly NodeStanding[] = ['none', 'joined', 'refused', 'accepted', 'evaluated', 'declined']

/** Answers and the watch arrive in any order; a standing never goes back. */
function later(one: NodeStanding, other: NodeStanding): NodeStanding {
  return ORDER.indexOf(other) > ORDER.indexOf(one) ? other : one
}
