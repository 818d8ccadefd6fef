import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { TapestryError } from '../src/core/error.ts'
import { LedgerService } from '../src/gen/proto/tapestry/v1/ledger_pb.ts'
import { signCheckpoint } from '../src/ledger/checkpoint.ts'
import { entryBytes, type LedgerEvent } from '../src/ledger/entry.ts'
import { type LogSigner, logSigner } from '../src/ledger/log-record.ts'
import { GrowingTree, leafHash } from '../src/ledger/merkle.ts'
import { proveConsistency, proveInclusion, TILE_WIDTH, type TileReader } from '../src/ledger/tile.ts'
import type { FakeCoordinator } from './fake-coordinator.ts'

/** The log of a fake coordinator: honest until a test makes it lie. */
export class FakeLog {
  entries: Uint8Array[] = []
  signer: LogSigner
  /** Changes the tile that a proof is made from, as a damaged disk would. */
  tamper: (tile: Uint8Array) => Uint8Array = (tile) => tile
  /** Answered instead of the newest checkpoint. */
  checkpoint: string | undefined
  /** Thrown by every call. */
  failure: TapestryError | undefined

  constructor(fake: FakeCoordinator) {
    const authority = createPrivateKey(fake.authority.key)
    this.signer = logSigner(fake.federation, generateKeyPairSync('ed25519').privateKey, authority)
    fake.logRecord = this.signer.record
    const { method } = LedgerService
    fake.unary(LedgerService, {
      [method.getLogCheckpoint.localName]: () => this.#answer(() => ({ checkpoint: this.checkpoint ?? this.note() })),
      [method.getConsistencyProof.localName]: ({ first, second }: { first: bigint; second: bigint }) =>
        this.#answer(async () => ({ hashes: await this.#consistency(Number(first), Number(second)) })),
    })
  }

  append(event: LedgerEvent): void {
    this.entries.push(entryBytes(event, Date.now()))
  }

  /** Appends entries that say nothing. */
  fill(count: number): void {
    for (let each = 0; each < count; each++) this.entries.push(Buffer.from(`{"filler":${this.entries.length}}`))
  }

  /** The same log with another past. */
  rewrite(index: number): void {
    this.entries = this.entries.map((entry, at) => (at === index ? Buffer.from('{"another":"past"}') : entry))
  }

  /** Signs with another key from now on. */
  useKey(key: KeyObject): void {
    this.signer = { ...this.signer, key }
  }

  note(size = this.entries.length): string {
    const tree = new GrowingTree()
    for (const entry of this.entries.slice(0, size)) tree.append(leafHash(entry))
    return signCheckpoint({ size, root: tree.root }, this.signer)
  }

  /** The receipt of the entry at an index, as far as `size`. */
  async receipt(index = this.entries.length - 1, size = this.entries.length) {
    const proof = await proveInclusion(index, size, this.#reader())
    return { index: BigInt(index), entry: this.entries[index] ?? Buffer.of(), proof, checkpoint: this.note(size) }
  }

  #consistency(first: number, second: number): Promise<Buffer[]> {
    if (second > this.entries.length) throw new TapestryError('INVALID_ARGUMENT', 'there is no such state')
    return proveConsistency(first, second, this.#reader())
  }

  #reader(): TileReader {
    const levels: Buffer[][] = []
    const tree = new GrowingTree()
    for (const entry of this.entries) {
      tree.append(leafHash(entry), (height, _, hash) => {
        if (height % 8 !== 0) return
        const level = levels[height / 8] ?? []
        levels[height / 8] = level
        level.push(hash)
      })
    }
    return async ({ level, index, width }) => {
      const hashes = (levels[level] ?? []).slice(index * TILE_WIDTH, index * TILE_WIDTH + width)
      return this.tamper(Buffer.concat(hashes))
    }
  }

  #answer<T>(work: () => T): T {
    if (this.failure !== undefined) throw this.failure
    return work()
  }
}
