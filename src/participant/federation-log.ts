import { TapestryError } from '../core/error.ts'
import { LedgerService } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import { openCheckpoint } from '../ledger/checkpoint.ts'
import { parseEntry, subjectOf } from '../ledger/entry.ts'
import type { NoteVerifier } from '../ledger/note.ts'
import type { TreeHead } from '../ledger/proof.ts'
import { type InclusionReceipt, type LogCredentials, openCredentials, verifyReceipt } from '../ledger/receipt.ts'
import type { PublicClient } from './public-client.ts'
import { safeNumber } from './wire.ts'

/** A federation's log, whose key has been proved by the federation's id. */
export type FederationLog = { readonly credentials: LogCredentials; readonly verifier: NoteVerifier }

/** @throws TapestryError VERIFICATION_FAILED; FAILED_PRECONDITION at a coordinator that keeps no log. */
export function logOfFederation({ federation }: PublicClient): FederationLog {
  const { record, bytes, signature, log } = federation
  if (log === undefined) throw new TapestryError('FAILED_PRECONDITION', 'this coordinator keeps no log')
  const credentials = { federation: { record: Buffer.from(bytes).toString('utf8'), signature: { ...signature } }, log }
  return { credentials, verifier: openCredentials(credentials, record.id).verifier }
}

/** The newest checkpoint, proved. @throws TapestryError VERIFICATION_FAILED */
export async function fetchCheckpoint(
  client: PublicClient,
  { verifier }: FederationLog,
): Promise<{ readonly note: string; readonly head: TreeHead }> {
  const { checkpoint: note } = await client.call(LedgerService.method.getLogCheckpoint, {})
  return { note, head: openCheckpoint(note, verifier) }
}

/**
 * The entry that a reference means, proved: a contribution, a checkpoint, a node or an index.
 * @throws TapestryError NOT_FOUND; VERIFICATION_FAILED
 */
export async function fetchReceipt(
  client: PublicClient,
  { verifier }: FederationLog,
  ref: string,
): Promise<{ readonly receipt: InclusionReceipt; readonly head: TreeHead }> {
  const { receipt: message } = await client.call(LedgerService.method.getReceipt, { ref })
  if (message === undefined) throw new TapestryError('VERIFICATION_FAILED', 'the coordinator sent no receipt')
  const { entry, proof, checkpoint } = message
  const receipt = { index: safeNumber(message.index), entry, proof, checkpoint }
  const head = verifyReceipt(receipt, verifier)
  if (answers(ref, receipt)) return { receipt, head }
  throw new TapestryError('VERIFICATION_FAILED', `the coordinator answered "${ref}" with the receipt of something else`)
}

function answers(ref: string, { index, entry }: InclusionReceipt): boolean {
  return ref === String(index) || ref === subjectOf(parseEntry(entry))
}

/** Entries from an index on; none beyond the end. Not proved: the tree that they make is. */
export async function fetchEntries(client: PublicClient, start: number): Promise<readonly Uint8Array[]> {
  return (await client.call(LedgerService.method.listEntries, { start: BigInt(start) })).entries
}
