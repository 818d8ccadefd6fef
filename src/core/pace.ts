import { TapestryError } from './error.ts'

/** Long enough for a pause of a network or a machine; short enough that a connection is not held for nothing. */
const WINDOW_MS = 60_000

/** Watches how fast a peer takes or gives bytes: only the time that it is waited for counts. */
export class Pace {
  readonly #least: number
  #bytes = 0
  #waitedMs = 0

  /** @param least bytes a second; 0 watches nothing. */
  constructor(least: number) {
    this.#least = least
  }

  /**
   * Counts bytes and how long the peer was waited for.
   * @throws TapestryError DEADLINE_EXCEEDED when it was slower than the least over a whole minute of waiting.
   */
  count(bytes: number, waitedMs: number): void {
    this.#bytes += bytes
    this.#waitedMs += waitedMs
    if (this.#waitedMs < WINDOW_MS) return
    if (this.#bytes * 1000 < this.#least * this.#waitedMs) {
      throw new TapestryError('DEADLINE_EXCEEDED', `slower than ${this.#least} bytes a second for a minute`, {
        hint: 'what arrived is kept: go on from there',
      })
    }
    this.#bytes = 0
    this.#waitedMs = 0
  }
}
