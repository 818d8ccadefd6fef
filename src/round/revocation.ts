import { z } from 'zod'
import { assertNever } from '../core/assert.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'

const digest = z.string().transform((text): Digest => ensureDigest(text))
const number = z.int().min(1)

const outcomeSchema = z.discriminatedUnion('kind', [
  /** No released model held any of it. */
  z.strictObject({ kind: z.literal('untouched') }),
  /** The run stands at its clean base. */
  z.strictObject({ kind: z.literal('returned'), because: z.string() }),
  /** What remained was merged again and published. */
  z.strictObject({ kind: z.literal('reissued'), checkpoint: digest }),
  /** A later revocation of the run took over what remained. */
  z.strictObject({ kind: z.literal('overtaken'), by: number }),
])

const remerging = z.strictObject({ phase: z.literal('remerging'), revision: number })
const deleting = z.strictObject({ phase: z.literal('deleting'), outcome: outcomeSchema })
const announcing = z.strictObject({
  phase: z.literal('announcing'),
  /** What follows when the notice is signed. */
  next: z.discriminatedUnion('phase', [remerging, deleting]),
})

export const revocationStateSchema = z.discriminatedUnion('phase', [
  /** Everything is taken back; the notice that says so waits for its signature. */
  announcing,
  /** A round of its own merges again what remains, and is judged like any other. */
  remerging,
  /** What nothing refers to any more is deleted. */
  deleting,
  z.strictObject({ phase: z.literal('done'), outcome: outcomeSchema }),
  /** Signing or deleting was given up; the run itself has gone on. */
  z.strictObject({
    phase: z.literal('failed'),
    from: z.discriminatedUnion('phase', [announcing, deleting]),
    reason: z.string(),
  }),
])

export type RevocationOutcome = z.output<typeof outcomeSchema>
export type RevocationState = z.output<typeof revocationStateSchema>

export type RevocationEvent =
  | { readonly type: 'notice-signed' }
  | { readonly type: 'revision-ended'; readonly outcome: RevocationOutcome }
  | { readonly type: 'blobs-deleted' }
  | { readonly type: 'work-abandoned'; readonly reason: string }
  /** The work that was given up is asked for again. */
  | { readonly type: 'work-resumed' }

/** A revocation that was just asked for. `revision`: the round that merges again; `outcome`: when there is none. */
export function openRevocation(end: { readonly revision: number } | { readonly outcome: RevocationOutcome }) {
  const next = 'revision' in end ? ({ phase: 'remerging', ...end } as const) : ({ phase: 'deleting', ...end } as const)
  return { phase: 'announcing', next } as const satisfies RevocationState
}

/**
 * The revocation's state machine. Pure; events that come twice, late or out of order give the state back as it is.
 * Work is to be done in `announcing` and `deleting`.
 */
export function stepRevocation(state: RevocationState, event: RevocationEvent): RevocationState {
  switch (event.type) {
    case 'notice-signed':
      return state.phase === 'announcing' ? state.next : state
    case 'revision-ended':
      return endRevision(state, event.outcome)
    case 'blobs-deleted':
      return state.phase === 'deleting' ? { phase: 'done', outcome: state.outcome } : state
    case 'work-abandoned':
      if (state.phase !== 'announcing' && state.phase !== 'deleting') return state
      return { phase: 'failed', from: state, reason: event.reason }
    case 'work-resumed':
      return state.phase === 'failed' ? state.from : state
    default:
      return assertNever(event)
  }
}

/** A revision may end before the notice is signed, or after signing was given up. */
function endRevision(state: RevocationState, outcome: RevocationOutcome): RevocationState {
  const ended = { phase: 'deleting', outcome } as const
  if (state.phase === 'remerging') return ended
  if (state.phase === 'announcing' && state.next.phase === 'remerging') return { ...state, next: ended }
  if (state.phase !== 'failed' || state.from.phase !== 'announcing') return state
  return { ...state, from: state.from.next.phase === 'remerging' ? { ...state.from, next: ended } : state.from }
}

/** How it ended or will end; null while a revision is under way. */
export function outcomeOf(state: RevocationState): RevocationOutcome | null {
  switch (state.phase) {
    case 'announcing':
      return outcomeOf(state.next)
    case 'remerging':
      return null
    case 'deleting':
    case 'done':
      return state.outcome
    case 'failed':
      return outcomeOf(state.from)
    default:
      return assertNever(state)
  }
}

/** The round that merges again what remains, while it does. */
export function revisionOf(state: RevocationState): number | null {
  switch (state.phase) {
    case 'announcing':
      return revisionOf(state.next)
    case 'remerging':
      return state.revision
    case 'failed':
      return revisionOf(state.from)
    case 'deleting':
    case 'done':
      return null
    default:
      return assertNever(state)
  }
}
