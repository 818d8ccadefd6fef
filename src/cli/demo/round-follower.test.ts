import { create } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { GetRoundResponseSchema, ListRoundsResponseSchema, RoundPhase } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { followRounds } from './round-follower.ts'

/** Answers listRounds with the next of `newest`, and getRound with a published round. */
function channelOver(newest: { number: number; phase: RoundPhase }[]) {
  const rounds = newest.map(({ number, phase }) => ({ ref: { run: 'demo', number }, phase }))
  return {
    call: async (method: { name: string }, request: { ref?: { run?: string; number?: number } }) => {
      if (method.name === 'ListRounds') {
        const round = rounds.shift()
        return create(ListRoundsResponseSchema, { rounds: round ? [round] : [] })
      }
      return create(GetRoundResponseSchema, { round: { ref: { run: 'demo', number: request.ref?.number ?? 0 } } })
    },
  }
}

describe('followRounds', () => {
  it('misses no round that ended between two looks', async () => {
    const shown: string[] = []
    const view = {
      round: (round: { ref?: { number: number } | undefined }) => shown.push(`at ${round.ref?.number}`),
      ended: (response: { round?: { ref?: { number: number } | undefined } | undefined }) =>
        shown.push(`ended ${response.round?.ref?.number}`),
    }
    const channel = channelOver([
      { number: 1, phase: RoundPhase.OPEN },
      { number: 3, phase: RoundPhase.COLLECTING },
      { number: 3, phase: RoundPhase.PUBLISHED },
    ])
    // @ts-expect-error only `call` is used, and its generic type cannot be written as a plain function.
    const rounds = await followRounds(channel, 'demo', 3, view, new AbortController().signal)
    expect(shown).toEqual(['at 1', 'ended 1', 'ended 2', 'at 3', 'ended 3'])
    expect(rounds).toHaveLength(3)
  })
})
