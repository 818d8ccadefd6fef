import type { Digest } from '../core/digest.ts'
import { accept, type RejectionReason, reject, type Verdict } from '../core/rejection.ts'
import type { Signature } from '../core/signature.ts'
import type { ContributionManifest } from '../model/contribution-manifest.ts'
import type { Reader } from '../store/reader.ts'
import type { RosterRow, RoundRow } from '../store/records.ts'

/** A submission whose signature holds. */
export type SignedContribution = {
  readonly id: Digest
  readonly manifest: ContributionManifest
  /** The manifest exactly as it was signed. */
  readonly text: string
  readonly signature: Signature
}

/** What there is at the place that a contribution names. */
export type Place = {
  readonly row: RoundRow | undefined
  /** Contribution of the same node to the round. */
  readonly stored: Digest | undefined
  readonly entry: RosterRow | undefined
}

/** The round that the contribution belongs to, or `stored` when it is already part of it. */
export async function judgePlace(
  reader: Pick<Reader, 'checkpoint'>,
  { id, manifest }: Pick<SignedContribution, 'id' | 'manifest'>,
  { row, stored, entry }: Place,
): Promise<Verdict<RoundRow | 'stored'>> {
  const { run, round } = manifest
  if (row === undefined) return reject('WRONG_ROUND', `there is no round ${round} in run ${run}`)
  if (stored === id) return accept('stored')
  if (stored !== undefined) return reject('DUPLICATE', 'this round already has a contribution from this node')
  if (row.round.phase !== 'collecting') return reject('ROUND_CLOSED', `round ${round} is ${row.round.phase}`)
  if (entry === undefined) return reject('NOT_IN_ROSTER', `round ${round} froze its roster without this node`)
  if (entry.declined) return reject('NOT_IN_ROSTER', `this node has declined round ${round}`)
  if (manifest.baseDigest !== row.round.base)
    return reject(await wrongBase(reader, manifest), `round ${round} starts from ${row.round.base}`)
  return accept(row)
}

async function wrongBase(reader: Pick<Reader, 'checkpoint'>, manifest: ContributionManifest): Promise<RejectionReason> {
  return (await reader.checkpoint(manifest.baseDigest)) === undefined ? 'UNKNOWN_BASE' : 'STALE_BASE'
}
