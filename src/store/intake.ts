import type { ByteSource } from './blob-store.ts'
import { BLOCK_BYTES, type Block, BlockPool } from './block-pool.ts'
import type { Pass } from './pass-threads.ts'

/** 8 MiB of bytes on their way, for all uploads of a process together. */
const MOST_BLOCKS = 32
/** Of them in the hands of one upload: one that fills, and two so that the thread never waits for it. */
const MOST_PER_UPLOAD = 3

const shared = new BlockPool(MOST_BLOCKS)

/**
 * Hands a source's bytes to a pass, at most `most` of them. Nothing is asked of the source while the thread is behind
 * or memory is short: that is the back-pressure. What arrived before a failure has been handed over when it goes on.
 * @returns bytes handed over, and whether the source held more than `most`.
 */
export async function takeIn(
  pass: Pass,
  most: number,
  source: ByteSource,
  pool: BlockPool = shared,
): Promise<{ readonly taken: number; readonly overflow: boolean }> {
  const intake = new Intake(pass, pool)
  let taken = 0
  try {
    for await (const piece of source instanceof Uint8Array ? [source] : source) {
      const fitting = piece.subarray(0, most - taken)
      await intake.take(fitting)
      taken += fitting.byteLength
      if (fitting.byteLength < piece.byteLength) return { taken, overflow: true }
    }
  } finally {
    await intake.end()
  }
  return { taken, overflow: false }
}

class Intake {
  readonly #pass: Pass
  readonly #pool: BlockPool
  readonly #leave: () => void
  #block: Block | undefined
  #filled = 0
  /** Blocks that the thread has, oldest first. */
  readonly #handed: Promise<void>[] = []
  #failure: { readonly error: unknown } | undefined

  constructor(pass: Pass, pool: BlockPool) {
    this.#pass = pass
    this.#pool = pool
    this.#leave = pool.whenShort(() => this.#handOver())
  }

  async take(piece: Uint8Array): Promise<void> {
    for (let rest = piece; rest.byteLength > 0; ) {
      this.#block ??= await this.#nextBlock()
      const fitting = rest.subarray(0, BLOCK_BYTES - this.#filled)
      this.#block.set(fitting, this.#filled)
      this.#filled += fitting.byteLength
      rest = rest.subarray(fitting.byteLength)
      if (this.#filled === BLOCK_BYTES || this.#pool.isShort) this.#handOver()
    }
  }

  /** Hands over what is left and waits for the thread. @throws what failed first. */
  async end(): Promise<void> {
    this.#leave()
    this.#handOver()
    await Promise.all(this.#handed)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  async #nextBlock(): Promise<Block> {
    while (this.#handed.length >= MOST_PER_UPLOAD - 1) await this.#handed[0]
    if (this.#failure !== undefined) throw this.#failure.error
    return this.#pool.take()
  }

  #handOver(): void {
    const block = this.#block
    if (block === undefined) return
    const length = this.#filled
    this.#block = undefined
    this.#filled = 0
    const handed = this.#pass
      .push(block, length)
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .then(() => {
        this.#handed.shift()
        this.#pool.give(block)
      })
    this.#handed.push(handed)
  }
}
