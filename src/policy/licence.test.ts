import parse from 'spdx-expression-parse'
import { describe, expect, it } from 'vitest'
import { canMeet, carriedBy, type DeclaredClasses, ensureReleaseLicence, licenceTerms, type Terms } from './licence.ts'
import { LICENCES } from './licence-table.ts'

const OWN: DeclaredClasses = { 'LicenseRef-Kaitiakitanga': 'restricted', 'LicenseRef-open': 'attribution' }

function terms(expression: string): Terms {
  const verdict = licenceTerms(expression, OWN)
  if (!verdict.ok) throw new Error(verdict.rejection.detail)
  return verdict.value
}

const carried = (expression: string, release: string) => carriedBy(terms(expression), release).ok

describe('the table of licences', () => {
  it('holds SPDX ids only, and carriers that are in it', () => {
    for (const licence of LICENCES.values()) {
      expect(parse(licence.id)).toEqual({ license: licence.id })
      for (const carrier of licence.carriers ?? []) expect(LICENCES.has(carrier)).toBe(true)
    }
  })

  it('lets no licence but those without conditions into the public domain, and nothing carry no-derivatives', () => {
    for (const { id, class: name } of LICENCES.values()) {
      expect(carried(id, 'CC0-1.0')).toBe(name === 'public-domain')
      if (name === 'no-derivatives') for (const release of LICENCES.keys()) expect(carried(id, release)).toBe(false)
      else expect(carried(id, id)).toBe(true)
    }
  })
})

describe('carriedBy', () => {
  it.each([
    ['CC0-1.0', 'Apache-2.0', true],
    ['MIT', 'Apache-2.0', true],
    ['CC-BY-4.0', 'Apache-2.0', true],
    ['CC-BY-SA-4.0', 'Apache-2.0', false],
    ['CC-BY-SA-3.0', 'CC-BY-SA-4.0', true],
    ['CC-BY-SA-4.0', 'CC-BY-SA-3.0', false],
    ['CC-BY-SA-4.0', 'GPL-3.0-only', true],
    ['CC-BY-NC-4.0', 'Apache-2.0', false],
    ['CC-BY-NC-4.0', 'CC-BY-NC-SA-4.0', true],
    ['CC-BY-NC-SA-4.0', 'CC-BY-NC-4.0', false],
    ['CC-BY-ND-4.0', 'CC-BY-ND-4.0', false],
    ['LicenseRef-Kaitiakitanga', 'Apache-2.0', false],
    ['LicenseRef-Kaitiakitanga', 'LicenseRef-Kaitiakitanga', true],
    ['CC-BY-4.0', 'LicenseRef-Kaitiakitanga', true],
    ['CC-BY-NC-4.0', 'LicenseRef-Kaitiakitanga', false],
    ['LicenseRef-open', 'Apache-2.0', true],
    ['GPL-2.0+', 'GPL-3.0-only', true],
    ['GPL-2.0-only', 'GPL-3.0-only', false],
    ['GPL-2.0-only WITH Classpath-exception-2.0', 'Apache-2.0', false],
    ['CC-BY-SA-4.0 OR MIT', 'Apache-2.0', true],
    ['CC-BY-SA-4.0 AND MIT', 'Apache-2.0', false],
    ['(CC-BY-SA-4.0 OR CC-BY-4.0) AND CC0-1.0', 'Apache-2.0', true],
  ])('%s into %s: %s', (expression, release, answer) => {
    expect(carried(expression, release)).toBe(answer)
  })
})

describe('licenceTerms', () => {
  const everything = Array.from({ length: 8 }, () => '(MIT OR ISC)').join(' AND ')

  it.each([
    '',
    'public domain',
    'mit',
    'LicenseRef-nobody-knows',
    'LicenseRef-toString',
    'CC-BY-4.0 AND LicenseRef-x',
    'Aladdin',
    `${'('.repeat(400)}MIT${')'.repeat(400)}`,
    everything,
  ])('refuses to guess: %s', (expression) => {
    expect(licenceTerms(expression)).toMatchObject({ ok: false, rejection: { reason: 'LICENCE_UNKNOWN' } })
  })

  it('keeps the known way out of several', () => {
    expect(terms('LicenseRef-nobody-knows OR MIT')).toEqual([[{ id: 'MIT', class: 'permissive' }]])
  })
})

describe('canMeet', () => {
  it.each([
    [['MIT', 'CC-BY-4.0', 'CC0-1.0'], true],
    [['CC-BY-SA-3.0', 'CC-BY-SA-4.0'], true],
    [['CC-BY-SA-4.0', 'CC-BY-NC-SA-4.0'], false],
    [['GPL-2.0-only', 'GPL-3.0-only'], false],
    [['LicenseRef-Kaitiakitanga', 'CC-BY-SA-4.0'], false],
    [['LicenseRef-Kaitiakitanga', 'CC-BY-4.0'], true],
    [['CC-BY-ND-4.0', 'MIT'], true],
  ])('%j: %s', (expressions, answer) => {
    expect(canMeet(expressions.map(terms))).toBe(answer)
  })
})

describe('ensureReleaseLicence', () => {
  it('takes one known licence or a reference', () => {
    expect(ensureReleaseLicence('CC-BY-SA-4.0')).toBe('CC-BY-SA-4.0')
    expect(ensureReleaseLicence('LicenseRef-ours')).toBe('LicenseRef-ours')
  })

  it.each(['', 'MIT OR ISC', 'Apache 2', 'LicenseRef-'])('refuses %j', (text) => {
    expect(() => ensureReleaseLicence(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
