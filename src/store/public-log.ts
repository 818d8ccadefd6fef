import { TapestryError } from '../core/error.ts'
import { signCheckpoint } from '../ledger/checkpoint.ts'
import type { LogSigner, SignedLogRecord } from '../ledger/log-record.ts'
import type { TreeHead } from '../ledger/proof.ts'
import type { InclusionReceipt } from '../ledger/receipt.ts'
import { proveConsistency, proveInclusion } from '../ledger/tile.ts'
import type { Store } from './store.ts'

/** A tree head with the signed note that vouches for it. */
export type Checkpoint = { readonly head: TreeHead; readonly note: string }

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
    const head = await this.#store.reader.ledgerHead()
    return { head, note: signCheckpoint(head, this.#signer) }
  }

  /** The entry about a contribution, a checkpoint or a node, proved; undefined when there is none. */
  async receipt(subject: string): Promise<InclusionReceipt | undefined> {
    const checkpoint = await this.checkpoint()
    const index = await this.#store.reader.ledgerIndex(subject)
    // Numbered since the checkpoint was signed: the next one covers it.
    return index === undefined || index >= checkpoint.head.size ? undefined : this.#prove(index, checkpoint)
  }

  /** The entry at an index, proved. @throws TapestryError NOT_FOUND beyond the end. */
  async receiptAt(index: number): Promise<InclusionReceipt> {
    const checkpoint = await this.checkpoint()
    if (index < checkpoint.head.size) return this.#prove(index, checkpoint)
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

  async #prove(index: number, { head, note }: Checkpoint): Promise<InclusionReceipt> {
    const [entry] = await this.#store.reader.ledgerEntries(index, 1)
    if (entry === undefined) throw new TapestryError('DATA_INVALID', `entry ${index} of the log is missing`)
    const proof = await proveInclusion(index, head.size, this.#store.reader.ledgerHashes)
    return { index, entry, proof, checkpoint: note }
  }
}
