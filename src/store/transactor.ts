import { setTimeout as sleep } from 'node:timers/promises'
import type { PrismaClient } from '../gen/prisma/client.ts'
import type { Database } from './database.ts'
import { type Fault, faultOf } from './fault.ts'
import type { Isolation } from './store.ts'

/** With a lane per name, conflicts come from other names and processes only: twenty lost races are a defect. */
const MOST_ATTEMPTS = 20
const FIRST_PAUSE_MS = 4
const LONGEST_PAUSE_MS = 250
const OPTIONS = {
  /** Milliseconds to wait for a connection of the pool. */
  maxWait: 15_000,
  /** A transaction does no I/O but its own statements: after this many milliseconds it is stuck. */
  timeout: 30_000,
} as const

type Undone = { readonly done: false; readonly fault: Fault; readonly begun: boolean }
type Outcome<T> = { readonly done: true; readonly value: T } | Undone

/**
 * Runs serializable transactions, again when they conflict. The first conflict moves a transaction
 * into its name's lane, where one runs at a time, and while a lane is in use newcomers of the same
 * name queue in it: a rush on one round then takes turns instead of losing races.
 */
export class Transactor {
  readonly #client: PrismaClient
  readonly #lanes = new Map<string, Promise<void>>()

  constructor(client: PrismaClient) {
    this.#client = client
  }

  /** @throws TapestryError: what `work` threw, or the fault of the database (see fault.ts). */
  async run<T>(
    name: string,
    work: (database: Database) => Promise<T>,
    isolation: Isolation = 'Serializable',
  ): Promise<T> {
    if (!this.#lanes.has(name)) {
      const first = await this.#attempt(work, isolation)
      if (first.done) return first.value
      if (!mayRepeat(first)) throw first.fault.error
    }
    return this.#inLane(name, () => this.#repeat(work, isolation))
  }

  async #repeat<T>(work: (database: Database) => Promise<T>, isolation: Isolation): Promise<T> {
    for (let attempt = 1, duplicates = 0; ; attempt++) {
      const outcome = await this.#attempt(work, isolation)
      if (outcome.done) return outcome.value
      // Run again, the work sees the row that was in its way; in the way twice, it is the work's own mistake.
      if (outcome.fault.kind === 'duplicate') duplicates++
      if (!mayRepeat(outcome) || attempt === MOST_ATTEMPTS || duplicates > 1) throw outcome.fault.error
      await sleep(Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** attempt, LONGEST_PAUSE_MS))
    }
  }

  async #attempt<T>(work: (database: Database) => Promise<T>, isolationLevel: Isolation): Promise<Outcome<T>> {
    let begun = false
    const begin = (database: Database) => {
      begun = true
      return work(database)
    }
    try {
      return { done: true, value: await this.#client.$transaction(begin, { ...OPTIONS, isolationLevel }) }
    } catch (thrown) {
      return { done: false, fault: faultOf(thrown), begun }
    }
  }

  async #inLane<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#lanes.get(name) ?? Promise.resolve()).then(work)
    const end = turn.then(
      () => {},
      () => {},
    )
    this.#lanes.set(name, end)
    try {
      return await turn
    } finally {
      if (this.#lanes.get(name) === end) this.#lanes.delete(name)
    }
  }
}

/** When the connection broke after the work had begun, it may have been committed: that is for the caller to find out. */
function mayRepeat({ fault, begun }: Undone): boolean {
  return fault.kind === 'conflict' || fault.kind === 'duplicate' || (fault.kind === 'unreachable' && !begun)
}
