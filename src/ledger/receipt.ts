import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { type FederationRecord, parseFederationRecord } from '../model/federation-record.ts'
import { signatureSchema } from '../model/parsing.ts'
import { openCheckpoint } from './checkpoint.ts'
import { openLogRecord } from './log-record.ts'
import { HASH_BYTES, leafHash } from './merkle.ts'
import type { NoteVerifier } from './note.ts'
import { type TreeHead, verifyInclusion } from './proof.ts'

/** The proof that an entry is in the log, as far as one checkpoint. */
export type InclusionReceipt = {
  readonly index: number
  /** The entry, exactly as the tree holds it. */
  readonly entry: Uint8Array
  readonly proof: readonly Uint8Array[]
  /** A signed note. */
  readonly checkpoint: string
}

/**
 * Proves a receipt.
 * @returns the tree head that its checkpoint commits to.
 * @throws TapestryError VERIFICATION_FAILED
 */
export function verifyReceipt({ index, entry, proof, checkpoint }: InclusionReceipt, verifier: NoteVerifier): TreeHead {
  const head = openCheckpoint(checkpoint, verifier)
  if (verifyInclusion(leafHash(entry), index, head, proof)) return head
  throw new TapestryError('VERIFICATION_FAILED', `the proof does not show entry ${index} in the log`)
}

const base64 = z
  .string()
  .max(100)
  .transform((text) => Buffer.from(text, 'base64'))
  .refine((hash) => hash.length === HASH_BYTES)
export const signedSchema = z.strictObject({ record: z.string(), signature: signatureSchema })
const fileSchema = z.strictObject({
  format: z.literal('tapestry-receipt/1'),
  federation: signedSchema,
  log: signedSchema,
  index: z.int().min(0),
  entry: z.string(),
  proof: z.array(base64).max(64),
  checkpoint: z.string(),
})

/** A record with its signature, as files keep it: the text that was signed. */
export type SignedText = z.input<typeof signedSchema>

/** What makes a log's checkpoints believable to those who know the federation's id alone. */
export type LogCredentials = { readonly federation: SignedText; readonly log: SignedText }

/** A receipt as a file that needs nothing else to be checked: canonical members, hashes in base64. */
export function receiptFile({ federation, log }: LogCredentials, receipt: InclusionReceipt) {
  return {
    format: 'tapestry-receipt/1' as const,
    federation,
    log,
    index: receipt.index,
    entry: Buffer.from(receipt.entry).toString('utf8'),
    proof: receipt.proof.map((hash) => Buffer.from(hash).toString('base64')),
    checkpoint: receipt.checkpoint,
  }
}

/** A receipt that was proved from its file alone. */
export type VerifiedReceipt = { readonly receipt: InclusionReceipt; readonly head: TreeHead }

/**
 * Reads and proves a receipt file, offline.
 * @param expected the federation that the caller trusts.
 * @throws TapestryError VERIFICATION_FAILED, or WRONG_FEDERATION for a sound receipt of another federation.
 */
export function verifyReceiptFile(text: string, expected: string): VerifiedReceipt {
  const { entry, ...file } = parseFile(text)
  const receipt = {
    index: file.index,
    entry: Buffer.from(entry, 'utf8'),
    proof: file.proof,
    checkpoint: file.checkpoint,
  }
  return { receipt, head: verifyReceipt(receipt, openCredentials(file, expected).verifier) }
}

/** Proves the chain from a federation's id to the key of its log. @throws as {@link verifyReceiptFile}. */
export function openCredentials(
  { federation, log }: LogCredentials,
  expected: string,
): { readonly federation: FederationRecord; readonly verifier: NoteVerifier } {
  const record = parseFederationRecord(Buffer.from(federation.record, 'utf8'), federation.signature, expected)
  const verifier = openLogRecord({ bytes: Buffer.from(log.record, 'utf8'), signature: log.signature }, record)
  return { federation: record, verifier }
}

function parseFile(text: string): z.output<typeof fileSchema> {
  try {
    return fileSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', 'the file is not a receipt', { cause })
  }
}
