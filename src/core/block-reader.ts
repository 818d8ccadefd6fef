/**
 * Turns the many small pieces that a connection brings into few large blocks that are asked for. The connection reads
 * straight into the blocks, which are used again. What had arrived when it failed is handed out before the failure.
 */
export class BlockReader {
  readonly #blockBytes: number
  readonly #resume: () => void
  readonly #full: Uint8Array[] = []
  readonly #free: Uint8Array[] = []
  #block: Uint8Array | undefined
  #filled = 0
  #ended = false
  #failure: unknown
  #notify: () => void = () => undefined

  /** @param resume lets a source that was told to pause go on. */
  constructor(blockBytes: number, resume: () => void) {
    this.#blockBytes = blockBytes
    this.#resume = resume
  }

  /** Where the source puts what comes next; never empty. */
  room(): Uint8Array {
    this.#block ??= this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#blockBytes)
    return this.#block.subarray(this.#filled)
  }

  /** So many bytes are in the room. @returns false when the source should pause; what still comes is taken all the same. */
  took(length: number): boolean {
    this.#filled += length
    if (this.#filled === this.#blockBytes) this.#turn()
    return this.#full.length < 2
  }

  /** Copies what came some other way. @returns as {@link took}. */
  push(bytes: Uint8Array): boolean {
    for (let rest = bytes; rest.byteLength > 0; ) {
      const room = this.room()
      const piece = rest.subarray(0, room.byteLength)
      room.set(piece)
      this.took(piece.byteLength)
      rest = rest.subarray(piece.byteLength)
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
      if (before !== undefined && before.byteLength === this.#blockBytes) this.#free.push(before)
      before = block
    }
    if (this.#failure !== undefined) throw this.#failure
  }

  #turn(): void {
    if (this.#block !== undefined) this.#full.push(this.#block.subarray(0, this.#filled))
    this.#block = undefined
    this.#filled = 0
    this.#notify()
  }
}
