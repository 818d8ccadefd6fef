/**
 * One block: large enough that handing it to a thread costs nothing beside what the thread does with it, small enough to
 * be in a processor's cache still when it has been written and is to be hashed.
 */
export const BLOCK_BYTES = 256 * 1024

/** How long blocks outlive their last use: shorter than the pause between two rounds, longer than one within a round. */
const KEEP_MS = 5000

/** Memory that several threads see. */
export type Block = Uint8Array<SharedArrayBuffer>

/**
 * A fixed number of blocks for all bytes on their way from sockets to threads: what a process buffers is bounded by
 * them, however many senders there are. Blocks are made when they are first needed, and forgotten when nobody has held one
 * for a while. Not at once: threads that were shown a block keep its memory until they next collect garbage, so blocks
 * that come and go within a round would pile up.
 *
 * A sender that has filled a part of a block and falls silent must not keep the block from others. So who takes a block
 * says how to hand it in early, and is asked to when another one has to wait.
 */
export class BlockPool {
  readonly #most: number
  #made = 0
  #free: Block[] = []
  #forgetting: NodeJS.Timeout | undefined
  readonly #waiting: ((block: Block) => void)[] = []
  readonly #handIn = new Set<() => void>()

  /** @param most blocks in all. */
  constructor(most: number) {
    this.#most = most
  }

  /** True while somebody waits: blocks should then be handed in as they are. */
  get isShort(): boolean {
    return this.#waiting.length > 0
  }

  /** A block, in the order of asking. */
  take(): Promise<Block> {
    clearTimeout(this.#forgetting)
    const free = this.#free.pop() ?? this.#make()
    if (free !== undefined) return Promise.resolve(free)
    const promise = new Promise<Block>((resolve) => this.#waiting.push(resolve))
    for (const handIn of [...this.#handIn]) handIn()
    return promise
  }

  give(block: Block): void {
    const next = this.#waiting.shift()
    if (next !== undefined) {
      next(block)
      return
    }
    this.#free.push(block)
    if (this.#free.length === this.#made) this.#forgetting = setTimeout(() => this.#forget(), KEEP_MS).unref()
  }

  /** Registers what hands in a block that is filled in part. @returns what ends the registration. */
  whenShort(handIn: () => void): () => void {
    this.#handIn.add(handIn)
    return () => this.#handIn.delete(handIn)
  }

  #forget(): void {
    this.#free = []
    this.#made = 0
  }

  #make(): Block | undefined {
    if (this.#made === this.#most) return undefined
    this.#made += 1
    return new Uint8Array(new SharedArrayBuffer(BLOCK_BYTES))
  }
}
