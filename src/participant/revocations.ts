import { type DatasetRef, RevocationMode, RevocationService } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import type { Channel } from './channel.ts'

/** What is revoked: one contribution, what was trained on a dataset, or all that a node contributed. */
export type Revocable =
  | { readonly case: 'contribution'; readonly value: string }
  | { readonly case: 'dataset'; readonly value: Pick<DatasetRef, 'node' | 'id'> }
  | { readonly case: 'node'; readonly value: string }
  /** Digest of a record: what was trained on the dataset that it declares. */
  | { readonly case: 'record'; readonly value: string }

export type RevocationWish = {
  readonly subject: Revocable
  readonly mode: 'rewind' | 'remerge'
  /** Empty when none is given, which operators may not do. */
  readonly reason: string
}

const MODES = { rewind: RevocationMode.REWIND, remerge: RevocationMode.REMERGE } as const

/** What a revocation would cost, run by run. Changes nothing. @throws TapestryError as {@link requestRevocation} */
export async function estimateRevocation(channel: Channel, { subject, mode, reason }: RevocationWish) {
  const request = { subject, mode: MODES[mode], reason, dryRun: true }
  return (await channel.call(RevocationService.method.requestRevocation, request)).estimates
}

/**
 * Begins a revocation, as a node of what is its own, as an operator of anything.
 * @throws TapestryError NOT_FOUND; ALREADY_EXISTS for a contribution that was revoked before; PERMISSION_DENIED
 */
export async function requestRevocation(channel: Channel, { subject, mode, reason }: RevocationWish) {
  const request = { subject, mode: MODES[mode], reason, dryRun: false }
  return (await channel.call(RevocationService.method.requestRevocation, request)).revocations
}
