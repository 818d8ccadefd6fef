import type { FederationId } from '../core/ids.ts'
import type { Signature } from '../core/signature.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { type FederationRecord, parseFederationRecord } from '../model/federation-record.ts'
import type { Channel } from './channel.ts'
import { requireSignature } from './wire.ts'

/** A federation record that has been proved, with the bytes and signature that prove it to others. */
export type SignedFederation = {
  readonly record: FederationRecord
  readonly bytes: Uint8Array
  readonly signature: Signature
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
  return { record, bytes: response.record, signature }
}
