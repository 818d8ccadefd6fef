import type { RoundKey } from '../core/ids.ts'
import type { Round } from '../round/round.ts'
import type { Reader } from './reader.ts'
import type { ContributionRow } from './records.ts'

/** What a round merges: what was handed in for it, or, for a revision, what it merges again, with the weights of that. */
export function contributionsIn(
  reader: Pick<Reader, 'contributions' | 'remerged'>,
  key: RoundKey,
  { revisionOf }: Round,
): Promise<readonly ContributionRow[]> {
  return revisionOf === undefined ? reader.contributions(key) : reader.remerged(key)
}
