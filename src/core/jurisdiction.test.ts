import { describe, expect, it } from 'vitest'
import { ensureJurisdiction, liesWithin } from './jurisdiction.ts'

describe('ensureJurisdiction', () => {
  it('takes countries, subdivisions and the European Union', () => {
    for (const code of ['KE', 'NO', 'CA-QC', 'FR-75C', 'EU']) expect(ensureJurisdiction(code)).toBe(code)
  })

  it('refuses what is no place in the standard', () => {
    for (const code of ['', 'ke', 'XX', 'KEN', 'EU-FR', 'KE-', 'KE-ABCD', 'UK', 'K\nE', '**']) {
      expect(() => ensureJurisdiction(code)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    }
  })
})

describe('liesWithin', () => {
  it.each([
    ['KE', 'KE', true],
    ['CA-QC', 'CA', true],
    ['CA', 'CA-QC', false],
    ['FR', 'EU', true],
    ['FR-75C', 'EU', true],
    ['CH', 'EU', false],
    ['GB', 'EU', false],
    ['EU', 'FR', false],
  ])('%s in %s: %s', (place, area, answer) => {
    expect(liesWithin(ensureJurisdiction(place), ensureJurisdiction(area))).toBe(answer)
  })
})
