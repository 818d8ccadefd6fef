import { assertNever } from '../core/assert.ts'
import type { Phase } from '../round/round.ts'
import type { NodeStanding } from './round-view.ts'

export type Action = 'join' | 'contribute' | 'review' | 'evaluate' | 'decline'

/** All that decides what to do in a round. */
export type Situation = {
  readonly phase: Phase
  readonly standing: NodeStanding
  /** The phase in which an action failed for good or was refused: nothing more is done in it. */
  readonly setAside: Phase | undefined
  /** Whether the node's people want it to take part. */
  readonly wanted: boolean
}

/** What a node does next in a round; undefined when it waits. A refused contribution is not sent again. */
export function nextAction({ phase, standing, setAside, wanted }: Situation): Action | undefined {
  if (phase === setAside) return undefined
  if (!wanted) return isAwaited(phase, standing) ? 'decline' : undefined
  switch (phase) {
    case 'open':
      return standing === 'none' ? 'join' : undefined
    case 'collecting':
      return standing === 'joined' ? 'contribute' : undefined
    case 'reviewing':
      return standing === 'accepted' ? 'review' : undefined
    case 'evaluating':
      return standing === 'accepted' ? 'evaluate' : undefined
    case 'sealed':
    case 'aggregating':
    case 'published':
    case 'rejected':
    case 'failed':
      return undefined
    default:
      return assertNever(phase)
  }
}

/** Whether the others wait for this node, now or when they come to evaluate. */
function isAwaited(phase: Phase, standing: NodeStanding): boolean {
  if (standing === 'joined') return phase === 'open' || phase === 'collecting'
  return (
    standing === 'accepted' && phase !== 'open' && phase !== 'published' && phase !== 'rejected' && phase !== 'failed'
  )
}
