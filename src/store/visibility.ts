import type { Digest } from '../core/digest.ts'
import type { Principal } from './principal.ts'
import type { Reader } from './reader.ts'

/**
 * Who may read an artifact. Released files are anyone's. A candidate is for the nodes that are to score it. A delta
 * says something about the text behind it, so it is for the node that sent it and for operators, and not for other
 * nodes but those that the run asks to review it, for as long as they may.
 */
export async function mayRead(
  reader: Pick<Reader, 'isReleased' | 'isCandidate' | 'payloadOwners' | 'isReviewer'>,
  caller: Principal,
  artifact: Digest,
): Promise<boolean> {
  if (caller.kind === 'operator') return true
  if (await reader.isReleased(artifact)) return true
  if (caller.kind === 'anyone') return false
  const { id } = caller.node
  if ((await reader.isCandidate(artifact)) || (await reader.payloadOwners(artifact)).includes(id)) return true
  return reader.isReviewer(id, artifact)
}
