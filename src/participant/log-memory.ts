import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import {
  type InclusionReceipt,
  openCredentials,
  receiptFile,
  type SignedText,
  signedSchema,
} from '../ledger/receipt.ts'
import { fileError } from '../model/whole-file.ts'
import { type NodeDirectory, requireKey } from './node-directory.ts'
import { readRecord, writeRecord } from './private-file.ts'

/** What a node remembers of its federation's log: `ledger/checkpoint.json`. */
export type SeenLog = {
  /** Which key signs the log; the first one met is the only one that is ever believed. */
  readonly log: SignedText
  /** The newest checkpoint that was checked, a signed note. */
  readonly checkpoint: string
  readonly size: number
}

const seenSchema: z.ZodType<SeenLog> = z.strictObject({
  log: signedSchema,
  checkpoint: z.string(),
  size: z.int().min(0),
})

/** A node's files about the log: the checkpoint it saw last, its receipts, and evidence. Readable by its user alone. */
export class LogMemory {
  readonly #directory: NodeDirectory

  constructor(directory: NodeDirectory) {
    this.#directory = directory
  }

  /** Undefined before the first checkpoint. @throws TapestryError DATA_INVALID: a damaged memory is no memory to trust. */
  read(): Promise<SeenLog | undefined> {
    return readRecord(this.#path('checkpoint.json'), seenSchema)
  }

  async write(seen: SeenLog): Promise<void> {
    await this.#writeRecord(this.#path('checkpoint.json'), seen)
  }

  /** Keeps the receipt of the node's contribution to a round, as a file that `tapestry log verify` proves. @returns its path. */
  async writeReceipt({ run, number }: RoundKey, log: SignedText, receipt: InclusionReceipt): Promise<string> {
    const path = this.#path('receipts', run, `${number}.json`)
    await this.#writeRecord(path, receiptFile({ federation: await this.#federation(), log }, receipt))
    return path
  }

  /** Keeps what proves that the log was tampered with. @returns its path. */
  async writeEvidence(evidence: Readonly<Record<string, unknown>>, now: Millis): Promise<string> {
    const path = this.#path(`evidence-${new Date(now).toISOString().replaceAll(':', '-')}.json`)
    await this.#writeRecord(path, {
      format: 'tapestry-log-evidence/1',
      federation: await this.#federation(),
      ...evidence,
    })
    return path
  }

  /** Proves a log record by the federation that this node belongs to. @throws TapestryError VERIFICATION_FAILED */
  async verifierOf(log: SignedText, federation: string) {
    return openCredentials({ federation: await this.#federation(), log }, federation).verifier
  }

  async #federation(): Promise<SignedText> {
    try {
      return signedSchema.parse(JSON.parse(await requireKey(this.#directory, 'federation.json')))
    } catch (cause) {
      throw new TapestryError('DATA_INVALID', 'federation.json of this node is damaged', { cause })
    }
  }

  #path(...names: readonly string[]): string {
    return join(this.#directory.root, 'ledger', ...names)
  }

  async #writeRecord(path: string, record: unknown): Promise<void> {
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    } catch (cause) {
      throw fileError(path, cause)
    }
    await writeRecord(path, record)
  }
}
