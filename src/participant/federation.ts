import type { FederationId } from '../core/ids.ts'
import type { Signature } from '../core/signature.ts'
import { EnrollmentService, type GetFederationResponse } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import type { SignedText } from '../ledger/receipt.ts'
import { type FederationRecord, parseFederationRecord } from '../model/federation-record.ts'
import type { Channel } from './channel.ts'
import { requireSignature } from './wire.ts'

/** A federation record that has been proved, with the bytes and signature that prove it to others. */
export type SignedFederation = {
  readonly record: FederationRecord
  readonly bytes: Uint8Array
  readonly signature: Signature
  /** Which key signs the federation's log, not proved yet; undefined at a coordinator that keeps none. */
  readonly log: SignedText | undefined
}

/**
 * Asks who the coordinator's federation is.
 * @throws TapestryError WRONG_FEDERATION when it is another one than `expected`; VERIFICATION_FAILED.
 */
export async function fetchFederation(
  channel: Channel,
  expected: FederationId,
  signal?: AbortSignal,
): Promise<SignedFederation> {
  const response = await channel.call(EnrollmentService.method.getFederation, {}, { signal })
  const signature = requireSignature(response.signature, 'the federation record')
  const record = parseFederationRecord(response.record, signature, expected)
  return { record, bytes: response.record, signature, log: logOf(response) }
}

function logOf({ log, logSignature }: GetFederationResponse): SignedText | undefined {
  if (log.length === 0) return undefined
  const signature = requireSignature(logSignature, 'the log record')
  return { record: Buffer.from(log).toString('utf8'), signature: { ...signature } }
}
