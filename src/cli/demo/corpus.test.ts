import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ensureLanguageTag } from '../../core/language-tag.ts'
import { shareOut, writeTexts } from './corpus.ts'

const tags = ['vi', 'sw', 'fr', 'eu', 'zu', 'wo', 'hi', 'quz'].map(ensureLanguageTag)
const names = (count: number) => Array.from({ length: count }, (_, index) => `node-${index + 1}`)

describe('shareOut', () => {
  it('gives everybody text, leaves out no language, and differs by one at most', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 20 }), (languages, nodes) => {
        const shares = [...shareOut(tags.slice(0, languages), names(nodes)).values()]
        const sizes = shares.map((share) => share.length)
        expect(new Set(shares.flat()).size).toBe(languages)
        expect(Math.min(...sizes)).toBeGreaterThan(0)
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
      }),
    )
  })
})

describe('writeTexts', () => {
  const lines = (count: number) => Array.from({ length: count }, (_, index) => `line ${index}`)
  const root = () => mkdtemp(join(tmpdir(), 'corpus-'))
  const [vi, sw] = [tags[0]!, tags[1]!]

  it('divides a language between its holders without loss or overlap', async () => {
    const texts = await writeTexts([{ language: vi, lines: lines(100_000) }], names(3), await root(), 'declaration')
    const parts = await Promise.all(texts.map(({ directory }) => readFile(join(directory, 'vi.txt'), 'utf8')))
    const shares = parts.map((part) => part.trimEnd().split('\n'))
    expect(shares.flat().sort()).toEqual(lines(100_000).sort())
    expect(shares[1]?.[0]).toBe('line 1')
  })

  it('gives a node several languages', async () => {
    const texts = await writeTexts(
      [
        { language: vi, lines: lines(2) },
        { language: sw, lines: lines(2) },
      ],
      names(1),
      await root(),
      'declaration',
    )
    expect(texts).toMatchObject([{ node: 'node-1', languages: ['vi', 'sw'] }])
  })

  it('refuses too little text', async () => {
    const writing = writeTexts([{ language: vi, lines: lines(5) }], names(3), await root(), 'declaration')
    await expect(writing).rejects.toMatchObject({ code: 'DATA_INVALID' })
  })
})
