import { Metadata, status } from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { PHASES } from '../round/round.ts'
import { nextAction } from './next-action.ts'
import { backoffMs } from './retry.ts'
import type { NodeStanding } from './round-view.ts'
import { rpcError } from './rpc-error.ts'

describe('next action', () => {
  const standings: NodeStanding[] = ['none', 'joined', 'accepted', 'refused', 'evaluated', 'declined']
  const actionsWhen = (wanted: boolean) =>
    PHASES.flatMap((phase) =>
      standings.map(
        (standing) => [phase, standing, nextAction({ phase, standing, setAside: undefined, wanted })] as const,
      ),
    ).filter(([, , action]) => action !== undefined)

  it('is one in three situations and none in all others', () => {
    expect(actionsWhen(true)).toEqual([
      ['open', 'none', 'join'],
      ['collecting', 'joined', 'contribute'],
      ['reviewing', 'accepted', 'review'],
      ['evaluating', 'accepted', 'evaluate'],
    ])
  })

  it('is to decline wherever an unwanted round would wait for this node, and nothing else', () => {
    expect(actionsWhen(false)).toEqual([
      ['open', 'joined', 'decline'],
      ['collecting', 'joined', 'decline'],
      ['collecting', 'accepted', 'decline'],
      ['reviewing', 'accepted', 'decline'],
      ['sealed', 'accepted', 'decline'],
      ['aggregating', 'accepted', 'decline'],
      ['evaluating', 'accepted', 'decline'],
    ])
  })

  it('is not repeated in the phase it was set aside in', () => {
    const wanted = true
    expect(nextAction({ phase: 'open', standing: 'none', setAside: 'open', wanted })).toBeUndefined()
    expect(nextAction({ phase: 'collecting', standing: 'joined', setAside: 'open', wanted })).toBe('contribute')
  })
})

describe('backoff', () => {
  it('doubles up to its cap and stays finite for ever', () => {
    const backoff = { baseMs: 100, capMs: 1000, random: () => 0.5 }
    expect([0, 1, 2, 3, 4, 10_000].map((attempt) => backoffMs(attempt, backoff))).toEqual([50, 100, 200, 400, 500, 500])
  })
})

describe('errors from afar', () => {
  const error = (code: status, ours?: string) => {
    const metadata = new Metadata()
    if (ours !== undefined) metadata.set('tapestry-code', ours)
    return Object.assign(new Error('x'), { code, details: 'bad\u001b[2J news', metadata })
  }

  it.each<[status, string | undefined, string]>([
    [status.FAILED_PRECONDITION, 'INVITATION_USED', 'INVITATION_USED'],
    [status.NOT_FOUND, undefined, 'NOT_FOUND'],
    [status.NOT_FOUND, 'MADE_UP', 'NOT_FOUND'],
    [status.INTERNAL, undefined, 'UNAVAILABLE'],
    [status.INTERNAL, 'INTERNAL', 'INTERNAL'],
    [status.RESOURCE_EXHAUSTED, 'DISK_FULL', 'RESOURCE_EXHAUSTED'],
  ])('status %s with %s is %s', (code, ours, expected) => {
    expect(rpcError('Call', error(code, ours))).toMatchObject({ code: expected, message: 'bad [2J news' })
  })
})
