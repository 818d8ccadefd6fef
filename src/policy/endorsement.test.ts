import fc from 'fast-check'
import { expect, it } from 'vitest'
import { countedEndorsements, ENDORSEMENT_WINDOW_MS, type Endorsement } from './endorsement.ts'

const key = fc.constantFrom('a', 'b', 'c', 'd')
const at = fc.integer({ min: 0, max: 3 * ENDORSEMENT_WINDOW_MS })
const endorsements = fc.array(fc.record({ keyId: key, at }), { maxLength: 20 })

it('counts each key that may once, by its newest signature, and only within the window', () => {
  fc.assert(
    fc.property(endorsements, fc.uniqueArray(key), at, (signed, keys, now) => {
      const counted = countedEndorsements(signed, new Set(keys), now)
      const ids = counted.map(({ keyId }) => keyId)
      expect(ids).toEqual([...new Set(ids)].sort())
      for (const id of ['a', 'b', 'c', 'd']) {
        const times = signed.filter((one) => one.keyId === id).map((one) => one.at)
        const newest = Math.max(...times.filter((time) => time > now - ENDORSEMENT_WINDOW_MS), -1)
        const expected = keys.includes(id as 'a') && newest >= 0 ? newest : undefined
        expect(counted.find(({ keyId }) => keyId === id)?.at).toBe(expected)
      }
    }),
  )
})

it('is not impressed by order or repetition', () => {
  fc.assert(
    fc.property(endorsements, at, (signed, now) => {
      const all = new Set(['a', 'b', 'c', 'd'])
      const times = (found: readonly Endorsement[]) => found.map(({ keyId, at }) => [keyId, at])
      const once = times(countedEndorsements(signed, all, now))
      expect(times(countedEndorsements([...signed, ...signed.toReversed()], all, now))).toEqual(once)
    }),
  )
})
