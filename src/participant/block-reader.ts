import { BLOCK_BYTES } from './artifact.ts'

/**
 * Turns the many small pieces that a connection pushes into few large blocks that are asked for. What had arrived when
 * the source failed is handed out before the failure.
 */
export class BlockReader {
  readonly #resume: () => void
  readonly #full: Uint8Array[] = []
  readonly #free: Uint8Array[] = []
  #block: Uint8Array
  #filled = 0
  #ended = false
  #failure: unknown
  #notify: () => void = () => undefined

  /** @param resume lets a source that was told to pause go on. */
  constructor(resume: () => void) {
    this.#resume = resume
    this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  }

  /** Copies what came. @returns false when the source should pause; what it still pushes is taken all the same. */
  push(bytes: Uint8Array): boolean {
    for (let rest = bytes; rest.byteLength > 0; ) {
      const piece = rest.subarray(0, BLOCK_BYTES - this.#filled)
      this.#block.set(piece, this.#filled)
      this.#filled += piece.byteLength
      rest = rest.subarray(piece.byteLength)
      if (this.#filled === BLOCK_BYTES) this.#turn()
    }
    return this.#full.length < 2
  }

  /** Nothing more comes. Only the first call counts. */
  end(failure?: unknown): void {
    if (this.#ended) return
    this.#ended = true
    this.#failure = failure
    if (this.#filled > 0) this.#turn()
    this.#notify()
  }

  /** The blocks in order. Each stays as it is until the second one after it is asked for. To be read once. */
  async *blocks(): AsyncGenerator<Uint8Array> {
    let before: Uint8Array | undefined
    for (;;) {
      const block = this.#full.shift()
      if (block === undefined) {
        if (this.#ended) break
        await new Promise<void>((resolve) => {
          this.#notify = resolve
        })
        continue
      }
      if (!this.#ended && this.#full.length === 0) this.#resume()
      yield block
      if (before !== undefined && before.byteLength === BLOCK_BYTES) this.#free.push(before)
      before = block
    }
    if (this.#failure !== undefined) throw this.#failure
  }

  #turn(): void {
    this.#full.push(this.#block.subarray(0, this.#filled))
    this.#block = this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
    this.#filled = 0
    this.#notify()
  }
}
