import { TapestryError } from '../core/error.ts'
import { signCheckpoint } from '../ledger/checkpoint.ts'
import type { LogSigner, SignedLogRecord } from '../ledger/log-record.ts'
import type { TreeHead } from '../ledger/proof.ts'
import type { InclusionReceipt } from '../ledger/receipt.ts'
import { proveConsistency, proveInclusion } from '../ledger/tile.ts'
import type { Store } from './store.ts'

/** A tree head with the signed note that vouches for it. */
export type Checkpoint = { readonly head: TreeHead; readonly note: string }

type Located = Pick<InclusionReceipt, 'index' | 'entry'>

/** The log as it is shown to anybody: checkpoints signed, everything proved. */
export class PublicLog {
  readonly #store: Pick<Store, 'reader' | 'numberEntries'>
  readonly #signer: LogSigner

  constructor(store: Pick<Store, 'reader' | 'numberEntries'>, signer: LogSigner) {
    this.#store = store
    this.#signer = signer
  }

  /** Which key signs the log, under the authority's signature. */
  get record(): SignedLogRecord {
    return this.#signer.record
  }

  /** The newest checkpoint: covers everything that was committed before the call. */
  async checkpoint(): Promise<Checkpoint> {
    await this.#store.numberEntries()
    return this.#sign()
  }

  /** The entry about a contribution, a checkpoint or a node, proved; undefined when there is none. */
  async receipt(subject: string): Promise<InclusionReceipt | undefined> {
    await this.#store.numberEntries()
    const [found, checkpoint] = await Promise.all([this.#store.reader.ledgerEntryAbout(subject), this.#sign()])
    // Committed since the call began: the next checkpoint covers it.
    return found === undefined || found.index >= checkpoint.head.size ? undefined : this.#prove(found, checkpoint)
  }

  /** The entry at an index, proved. @throws TapestryError NOT_FOUND beyond the end. */
  async receiptAt(index: number): Promise<InclusionReceipt> {
    const checkpoint = await this.checkpoint()
    const [entry] = index < checkpoint.head.size ? await this.#store.reader.ledgerEntries(index, 1) : []
    if (entry !== undefined) return this.#prove({ index, entry }, checkpoint)
    throw new TapestryError('NOT_FOUND', `the log has ${checkpoint.head.size} entries, no entry ${index}`)
  }

  /** @throws TapestryError INVALID_ARGUMENT unless the entry is in that state, and the state in the log. */
  async inclusion(index: number, size: number): Promise<readonly Uint8Array[]> {
    await this.#requireReached(size)
    if (index >= size) throw new TapestryError('INVALID_ARGUMENT', `${size} entries hold no entry ${index}`)
    return proveInclusion(index, size, this.#store.reader.ledgerHashes)
  }

  /** @throws TapestryError INVALID_ARGUMENT unless `first` comes before `second`, and both are states of the log. */
  async consistency(first: number, second: number): Promise<readonly Uint8Array[]> {
    await this.#requireReached(second)
    if (first > second) throw new TapestryError('INVALID_ARGUMENT', `${second} entries did not grow out of ${first}`)
    return proveConsistency(first, second, this.#store.reader.ledgerHashes)
  }

  async #requireReached(size: number): Promise<void> {
    const head = await this.#store.reader.ledgerHead()
    if (size > head.size) {
      throw new TapestryError('INVALID_ARGUMENT', `the log has ${head.size} entries, there is no state of ${size}`)
    }
  }

  async #sign(): Promise<Checkpoint> {
    const head = await this.#store.reader.ledgerHead()
    return { head, note: signCheckpoint(head, this.#signer) }
  }

  async #prove({ index, entry }: Located, { head, note }: Checkpoint): Promise<InclusionReceipt> {
    const proof = await proveInclusion(index, head.size, this.#store.reader.ledgerHashes)
    return { index, entry, proof, checkpoint: note }
  }
}
