import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { digestOf } from '../core/digest.ts'
import {
  openRevocation,
  outcomeOf,
  type RevocationEvent,
  type RevocationOutcome,
  type RevocationState,
  revisionOf,
  revocationStateSchema,
  stepRevocation,
} from './revocation.ts'

const REISSUED: RevocationOutcome = { kind: 'reissued', checkpoint: digestOf('checkpoint') }
const RETURNED: RevocationOutcome = { kind: 'returned', because: 'nothing remained' }
const ENDED = { type: 'revision-ended', outcome: REISSUED } as const
const SIGNED = { type: 'notice-signed' } as const
const DELETED = { type: 'blobs-deleted' } as const

const event = fc.constantFrom<RevocationEvent[]>(
  SIGNED,
  ENDED,
  DELETED,
  { type: 'work-abandoned', reason: 'gave up' },
  { type: 'work-resumed' },
)
const opened = fc.constantFrom(openRevocation({ revision: 5 }), openRevocation({ outcome: RETURNED }))

function led(state: RevocationState, ...events: readonly RevocationEvent[]): RevocationState {
  return events.reduce(stepRevocation, state)
}

describe('a revocation', () => {
  it('announces, waits for its revision, deletes and is done', () => {
    const state = openRevocation({ revision: 5 })
    expect(led(state, SIGNED)).toEqual({ phase: 'remerging', revision: 5 })
    expect(led(state, SIGNED, ENDED)).toEqual({ phase: 'deleting', outcome: REISSUED })
    expect(led(state, SIGNED, ENDED, DELETED)).toEqual({ phase: 'done', outcome: REISSUED })
  })

  it('loses nothing when its revision is quicker than its notice, or signing was given up', () => {
    const given = [{ type: 'work-abandoned', reason: 'no key' }, ENDED, { type: 'work-resumed' }] as const
    for (const events of [[ENDED], given]) {
      expect(led(openRevocation({ revision: 5 }), ...events, SIGNED)).toEqual({
        phase: 'deleting',
        outcome: REISSUED,
      })
    }
  })

  it('keeps the first outcome, survives being stored, and ends for good, whatever comes', () => {
    fc.assert(
      fc.property(opened, fc.array(event, { maxLength: 12 }), (state, events) => {
        let now: RevocationState = state
        for (const one of events) {
          const next = stepRevocation(now, one)
          expect(revocationStateSchema.parse(JSON.parse(JSON.stringify(next)))).toEqual(next)
          if (outcomeOf(now) !== null) expect(outcomeOf(next)).toEqual(outcomeOf(now))
          if (now.phase === 'done') expect(next).toBe(now)
          // Whoever waits for a revision has no outcome, and nobody waits who has one.
          expect(revisionOf(next) === null).toBe(outcomeOf(next) !== null)
          now = next
        }
      }),
    )
  })
})
