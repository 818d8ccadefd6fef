import { Metadata, status } from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { PHASES } from '../round/round.ts'
import { nextAction } from './next-action.ts'
import { backoffMs } from './retry.ts'
import type { NodeStanding } from './round-view.ts'
import { rpcError } from './rpc-error.ts'

describe('next action', () => {
  it('is one in three situations and none in all others', () => {
    const standings: NodeStanding[] = ['none', 'joined', 'accepted', 'refused', 'evaluated']
    const actions = PHASES.flatMap((phase) =>
      standings.map((standing) => [phase, standing, nextAction({ phase, standing, setAside: undefined })] as const),
    )
    expect(actions.filter(([, , action]) => action !== undefined)).toEqual([
      ['open', 'none', 'join'],
      ['collecting', 'joined', 'contribute'],
      ['reviewing', 'accepted', 'review'],
      ['evaluating', 'accepted', 'evaluate'],
    ])
  })

  it('is not repeated in the phase it was set aside in', () => {
    expect(nextAction({ phase: 'open', standing: 'none', setAside: 'open' })).toBeUndefined()
    expect(nextAction({ phase: 'collecting', standing: 'joined', setAside: 'open' })).toBe('contribute')
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
