import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { randomFrom } from '../plan/random.ts'
import { judgePeers, type PeerReview } from './peer-floor.ts'

const draws = () => randomFrom('draws')

function text(language: string, change: number) {
  const base = { mean: 3, standardError: 0.001, tokens: 1000 }
  return { language, base, candidate: { ...base, mean: 3 + change }, paired: null }
}

const voice = (voice: string, ...languages: PeerReview['languages']): PeerReview => ({ voice, languages })

describe('judgePeers', () => {
  it('goes by the middle one of three, whatever a third says', () => {
    const honest = [voice('a', text('sw', -0.2)), voice('b', text('sw', -0.1))]
    const poisoned = [voice('a', text('sw', 0.2)), voice('b', text('sw', 0.1))]
    fc.assert(
      fc.property(fc.double({ min: -2.9, max: 100, noNaN: true }), (lie) => {
        expect(judgePeers([...honest, voice('liar', text('sw', lie))], draws()).below).toBeNull()
        expect(judgePeers([...poisoned, voice('liar', text('sw', lie))], draws()).below).not.toBeNull()
      }),
    )
  })

  it('does not listen to one or two voices, however many nodes they have, and says so', () => {
    const rivals = ['a', 'a', 'b'].map((name) => voice(name, text('sw', 5)))
    const verdict = judgePeers(rivals, draws())
    expect(verdict).toMatchObject({ quality: null, below: null })
    expect(verdict.peers).toContain('not judged')
    expect(judgePeers([], draws())).toMatchObject({ quality: null, below: null })
  })

  it('counts those who were silent or could not score as not heard', () => {
    const three = ['a', 'b', 'c'].map((name) => voice(name, text('sw', 1)))
    expect(judgePeers([...three, voice('d')], draws())).toMatchObject({
      below: expect.stringContaining('3 peers'),
      peers: 'scored by 3 of 4 peers',
    })
    expect(judgePeers([...three.slice(1), voice('d')], draws()).below).toBeNull()
  })

  it('judges each language by those who speak it, tags whatever their case', () => {
    const mixed = [voice('a', text('sw', 1)), voice('b', text('SW', 1)), voice('c', text('sw', 1), text('fr', -9))]
    expect(judgePeers(mixed, draws())).toMatchObject({ quality: -1, below: expect.any(String) })
  })
})
