import { TapestryError } from '../core/error.ts'

/** Streams end within seconds or never: a peer that has too many is asked to come back after a while. */
const RETRY_MS = 10_000

/** Counts the open streams of each owner. */
export class StreamLimit {
  readonly #most: number
  readonly #open = new Map<string, number>()

  /** @param most streams that one owner may have open at a time. */
  constructor(most: number) {
    this.#most = most
  }

  /**
   * Counts one more stream.
   * @returns what must be called once when the stream is over.
   * @throws TapestryError RESOURCE_EXHAUSTED when the owner has as many open as it may.
   */
  enter(owner: string): () => void {
    const open = this.#open.get(owner) ?? 0
    if (open >= this.#most) {
      throw new TapestryError('RESOURCE_EXHAUSTED', `more than ${this.#most} streams at a time`, {
        hint: 'close some streams first',
        retryMs: RETRY_MS,
      })
    }
    this.#open.set(owner, open + 1)
    return () => this.#leave(owner)
  }

  #leave(owner: string): void {
    const left = (this.#open.get(owner) ?? 1) - 1
    if (left === 0) this.#open.delete(owner)
    else this.#open.set(owner, left)
  }
}
