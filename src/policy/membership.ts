import { TapestryError } from '../core/error.ts'

/** `left` by its own will and `ejected` are for good; `suspended` is not. */
export const NODE_STATUSES = ['active', 'suspended', 'left', 'ejected'] as const
export type NodeStatus = (typeof NODE_STATUSES)[number]

/** What operators decide about a node. */
export type StatusChange = 'suspend' | 'reinstate' | 'eject'
export type DecidedStatus = Exclude<NodeStatus, 'left'>

/** Null: refused. The same as before: nothing changes, so that every change may be repeated. */
const AFTER: Readonly<Record<NodeStatus, Readonly<Record<StatusChange, DecidedStatus | null>>>> = {
  active: { suspend: 'suspended', reinstate: 'active', eject: 'ejected' },
  suspended: { suspend: 'suspended', reinstate: 'active', eject: 'ejected' },
  left: { suspend: null, reinstate: null, eject: null },
  ejected: { suspend: null, reinstate: null, eject: 'ejected' },
}

/** What a node is after an operator's change. @throws TapestryError FAILED_PRECONDITION when it has left or was ejected. */
export function statusAfter(status: NodeStatus, change: StatusChange): DecidedStatus {
  const after = AFTER[status][change]
  if (after !== null) return after
  throw new TapestryError('FAILED_PRECONDITION', `the node is ${status}, which is for good`)
}

/** What a node is after it has left: nothing keeps it, and an ejection stays what it was. */
export function statusAfterLeaving(status: NodeStatus): 'left' | 'ejected' {
  return status === 'ejected' ? 'ejected' : 'left'
}
