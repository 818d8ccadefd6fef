import { TapestryError } from './error.ts'

export type BatchOptions<Q> = {
  /** Questions of one name are answered together, one batch at a time; all are of one name when absent. */
  readonly nameOf?: (question: Q) => string
  /** Most questions of one batch. */
  readonly most?: number
}

type Waiting<Q, A> = {
  readonly question: Q
  readonly resolve: (answer: A) => void
  readonly reject: (error: unknown) => void
}

const MOST = 64

/**
 * Answers questions together: those that arrive while a batch is under way make up the next one. Alone, a question waits
 * for nobody; in a rush, what a batch costs is shared by all in it. An answer is always worked out after its question came.
 */
export class Batches<Q, A> {
  readonly #answer: (questions: readonly Q[]) => Promise<readonly (A | TapestryError)[]>
  readonly #nameOf: (question: Q) => string
  readonly #most: number
  readonly #lanes = new Map<string, Waiting<Q, A>[]>()

  /**
   * @param answer gives one answer for each question, in their order; an error is that question's own. When it throws
   *   for several, each is asked again alone, so that one cannot spoil the others: it must allow that.
   */
  constructor(
    answer: (questions: readonly Q[]) => Promise<readonly (A | TapestryError)[]>,
    { nameOf = () => '', most = MOST }: BatchOptions<Q> = {},
  ) {
    this.#answer = answer
    this.#nameOf = nameOf
    this.#most = most
  }

  /** @throws the question's own error, or what its batch failed with. */
  ask(question: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      const name = this.#nameOf(question)
      const waiting = { question, resolve, reject }
      const lane = this.#lanes.get(name)
      if (lane !== undefined) lane.push(waiting)
      else void this.#run(name, [waiting])
    })
  }

  async #run(name: string, lane: Waiting<Q, A>[]): Promise<void> {
    this.#lanes.set(name, lane)
    while (lane.length > 0) {
      // What the sockets hold already comes along.
      await new Promise((resolve) => setImmediate(resolve))
      await this.#settle(lane.splice(0, this.#most))
    }
    this.#lanes.delete(name)
  }

  async #settle(batch: readonly Waiting<Q, A>[]): Promise<void> {
    try {
      const answers = await this.#answer(batch.map(({ question }) => question))
      if (answers.length !== batch.length) throw new TapestryError('INTERNAL', 'not every question was answered')
      for (const [i, answer] of answers.entries()) {
        if (answer instanceof TapestryError) batch[i]?.reject(answer)
        else batch[i]?.resolve(answer)
      }
    } catch (error) {
      if (batch.length > 1 && !isDown(error)) for (const one of batch) await this.#settle([one])
      else for (const { reject } of batch) reject(error)
    }
  }
}

/** Nobody's own fault: it would fail for each of them, one after another. */
function isDown(error: unknown): boolean {
  return error instanceof TapestryError && error.code === 'UNAVAILABLE'
}
