import type { Clock } from '../core/clock.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import { LedgerService, type Receipt } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import { openCheckpoint } from '../ledger/checkpoint.ts'
import { type LedgerEntry, parseEntry } from '../ledger/entry.ts'
import { GrowingTree } from '../ledger/merkle.ts'
import type { NoteVerifier } from '../ledger/note.ts'
import { type TreeHead, verifyConsistency } from '../ledger/proof.ts'
import { type InclusionReceipt, type SignedText, verifyReceipt } from '../ledger/receipt.ts'
import type { ContributionManifest } from '../model/contribution-manifest.ts'
import type { NodeClient } from './client.ts'
import { fetchFederation } from './federation.ts'
import { LogMemory, type SeenLog } from './log-memory.ts'
import type { NodeDirectory } from './node-directory.ts'
import { isPassing } from './retry.ts'
import { safeNumber } from './wire.ts'

/** The log as this node knows it. */
type Known = { readonly seen: SeenLog | undefined; readonly log: SignedText; readonly verifier: NoteVerifier }

/**
 * Watches that the federation's log only ever grows. Every checkpoint must be signed by the key that was met first and must
 * contain the last one that was seen; what does not is evidence, which is kept, and the node stops: a coordinator that shows
 * its members different pasts must not go on unnoticed.
 * Coordinators from before there was a log have none to watch; one that had a log must go on having it.
 */
export class LogKeeper {
  readonly #client: NodeClient
  readonly #memory: LogMemory
  readonly #clock: Clock
  /** Checks take turns: each compares with what the one before has kept. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(directory: NodeDirectory, client: NodeClient, clock: Clock) {
    this.#client = client
    this.#memory = new LogMemory(directory)
    this.#clock = clock
  }

  /**
   * Fetches the newest checkpoint and keeps it, if it is sound.
   * @throws TapestryError LEDGER_INCONSISTENT for a fork, a log that shrank or vanished, or a bad signature; UNAVAILABLE.
   */
  check(signal: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      const known = await this.#known(signal)
      if (known === undefined) return
      const note = await this.#newest(known, signal)
      const head = await this.#prove(known, { checkpoint: note }, () => openCheckpoint(note, known.verifier))
      const last = lastHead(known)
      if (head.size < last.size) {
        await this.#accuse(`the log had ${last.size} entries and now has ${head.size}`, known, { checkpoint: note })
      }
      await this.#advance(known, note, head, signal)
    })
  }

  /**
   * Proves that an accepted contribution is in the log, and keeps the receipt.
   * @returns its index; undefined when the coordinator sent no receipt.
   * @throws TapestryError LEDGER_INCONSISTENT for a receipt that proves nothing, or something else; UNAVAILABLE.
   */
  keep(message: Receipt | undefined, manifest: Uint8Array, claim: ContributionManifest, signal: AbortSignal) {
    return this.#inTurn(async () => {
      const known = message && (await this.#known(signal))
      if (message === undefined || known === undefined) return undefined
      const { proof, entry, checkpoint } = message
      const evidence = { ...receiptEvidence(message), contribution: digestOf(manifest) }
      const receipt = await this.#prove(known, evidence, () => ({
        index: safeNumber(message.index),
        entry,
        proof,
        checkpoint,
      }))
      const head = await this.#prove(known, evidence, () => proved(receipt, known.verifier, digestOf(manifest), claim))
      await this.#advance(known, checkpoint, head, signal)
      await this.#memory.writeReceipt({ run: claim.run, number: claim.round }, known.log, receipt)
      return receipt.index
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  /** What was kept or, at the first contact with a log, what the coordinator announces; undefined when it has no log. */
  async #known(signal: AbortSignal): Promise<Known | undefined> {
    const { federation } = this.#client.membership
    const seen = await this.#memory.read()
    const log = seen?.log ?? (await fetchFederation(this.#client, federation, signal)).log
    if (log === undefined) return undefined
    const verifier = await this.#memory.verifierOf(log, federation)
    return { seen, log, verifier }
  }

  async #newest(known: Known, signal: AbortSignal): Promise<string> {
    try {
      return (await this.#client.call(LedgerService.method.getLogCheckpoint, {}, { signal })).checkpoint
    } catch (thrown) {
      return this.#unlessPassing(thrown, signal, 'the coordinator no longer shows its log', known, {})
    }
  }

  /** Keeps a checkpoint that is newer than the last; an older one must be a part of the last. */
  async #advance(known: Known, note: string, head: TreeHead, signal: AbortSignal): Promise<void> {
    const last = lastHead(known)
    const [first, second] = head.size < last.size ? [head, last] : [last, head]
    const proof = await this.#growth(known, note, first, second, signal)
    if (!verifyConsistency(first, second, proof)) {
      const detail = `the log of ${second.size} entries does not contain the one of ${first.size}`
      await this.#accuse(detail, known, { checkpoint: note, consistencyProof: proof.map(base64) })
    }
    if (known.seen === undefined || second === head) {
      await this.#memory.write({ log: known.log, checkpoint: note, size: head.size })
    }
  }

  async #growth(
    known: Known,
    note: string,
    first: TreeHead,
    second: TreeHead,
    signal: AbortSignal,
  ): Promise<Uint8Array[]> {
    if (first.size === 0 || first.size === second.size) return []
    const sizes = { first: BigInt(first.size), second: BigInt(second.size) }
    try {
      return (await this.#client.call(LedgerService.method.getConsistencyProof, sizes, { signal })).hashes
    } catch (thrown) {
      const detail = `the coordinator cannot prove that its log grew from ${first.size} to ${second.size} entries`
      return this.#unlessPassing(thrown, signal, detail, known, { checkpoint: note })
    }
  }

  /** Runs a proof over what the coordinator sent; a failure is evidence. */
  async #prove<T>(known: Known, evidence: Readonly<Record<string, unknown>>, proof: () => T): Promise<T> {
    try {
      return proof()
    } catch (thrown) {
      return this.#accuse(toTapestryError(thrown).message, known, evidence, thrown)
    }
  }

  async #unlessPassing(
    thrown: unknown,
    signal: AbortSignal,
    detail: string,
    known: Known,
    evidence: Readonly<Record<string, unknown>>,
  ): Promise<never> {
    if (signal.aborted || isPassing(thrown) || isBusy(thrown)) throw thrown
    return this.#accuse(detail, known, evidence, thrown)
  }

  async #accuse(
    detail: string,
    { seen, log }: Known,
    evidence: Readonly<Record<string, unknown>>,
    cause?: unknown,
  ): Promise<never> {
    const facts = { detail, log, lastCheckpoint: seen?.checkpoint ?? null, ...evidence }
    const path = await this.#memory.writeEvidence(facts, this.#clock.now())
    throw new TapestryError('LEDGER_INCONSISTENT', `the federation's log cannot be trusted: ${detail}`, {
      cause,
      hint: `the evidence is in ${path}: compare it with other members before this node takes part again`,
    })
  }
}

const EMPTY: TreeHead = { size: 0, root: new GrowingTree().root }

/** Checked when it was kept; read again so that memory and proof cannot differ. */
function lastHead({ seen, verifier }: Known): TreeHead {
  return seen === undefined ? EMPTY : openCheckpoint(seen.checkpoint, verifier)
}

/** Failures that say something about the coordinator's day, not about its log. */
function isBusy(thrown: unknown): boolean {
  const { code } = toTapestryError(thrown)
  return (
    code === 'INTERNAL' || code === 'RESOURCE_EXHAUSTED' || code === 'UNAUTHENTICATED' || code === 'PERMISSION_DENIED'
  )
}

function proved(
  receipt: InclusionReceipt,
  verifier: NoteVerifier,
  contribution: Digest,
  claim: ContributionManifest,
): TreeHead {
  const head = verifyReceipt(receipt, verifier)
  if (isAbout(parseEntry(receipt.entry), contribution, claim)) return head
  throw new TapestryError('VERIFICATION_FAILED', 'the receipt is for something else than this contribution')
}

function isAbout(entry: LedgerEntry, contribution: Digest, claim: ContributionManifest): boolean {
  return (
    entry.type === 'contribution' &&
    entry.contribution === contribution &&
    entry.node === claim.node &&
    entry.run === claim.run &&
    entry.round === claim.round &&
    entry.base === claim.baseDigest &&
    entry.payload === claim.payloadDigest
  )
}

function receiptEvidence({ index, entry, proof, checkpoint }: Receipt) {
  return { index: String(index), entry: base64(entry), proof: proof.map(base64), checkpoint }
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
