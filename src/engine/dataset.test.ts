import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { type Document, loadDataset, MAX_DOCUMENT_BYTES } from './dataset.ts'
import { type DataSource, discoverSources, MAX_DATASET_BYTES } from './sources.ts'

let root: string
let count = 0

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-dataset-'))
})
afterAll(() => rm(root, { recursive: true }))

const split = { seed: 1, heldOutFraction: 0.2 }
const lines = (number: number, prefix = 'line') => Array.from({ length: number }, (_, index) => `${prefix} ${index}`)
const texts = (documents: readonly Document[]) => documents.map(({ bytes }) => Buffer.from(bytes).toString('utf8'))
const invalid = (path: string) =>
  expect.objectContaining({ code: 'DATA_INVALID', message: expect.stringContaining(path) })

async function source(content: string | Uint8Array, tag = 'sw', community = ''): Promise<DataSource> {
  const path = join(root, `${count++}.txt`)
  await writeFile(path, content)
  return { path, language: ensureLanguageTag(tag), community }
}

describe('loadDataset', () => {
  test('takes lines as documents, without blank ones and white space around them', async () => {
    const [corpus] = await loadDataset([await source('\ufeffmoja\r\n\r\n  mbili \n\t\ntatu')], split)
    expect(texts([...corpus!.train, ...corpus!.heldOut]).sort()).toEqual(['mbili', 'moja', 'tatu'])
  })

  test('splits by content: the same everywhere, about the fraction, and another seed splits otherwise', async () => {
    const [one] = await loadDataset([await source(lines(2000).join('\n'))], split)
    const [other] = await loadDataset([await source(lines(2000).reverse().join('\n'), 'zu')], split)
    const [reseeded] = await loadDataset([await source(lines(2000).join('\n'))], { ...split, seed: 2 })
    expect(texts(other!.heldOut)).toEqual(texts(one!.heldOut))
    expect(texts(reseeded!.heldOut)).not.toEqual(texts(one!.heldOut))
    expect(Math.abs(one!.heldOut.length - 400)).toBeLessThan(60)
  })

  test('never has a document on both sides, and something on each', async () => {
    const property = fc.asyncProperty(
      fc.array(fc.nat(30), { minLength: 2, maxLength: 60 }),
      fc.nat(),
      async (ids, seed) => {
        fc.pre(new Set(ids).size > 1)
        const corpora = await loadDataset([await source(ids.join('\n'))], { seed, heldOutFraction: 0.5 })
        for (const { train, heldOut } of corpora) {
          const measured = new Set(texts(heldOut))
          expect(measured.size).toBe(heldOut.length)
          expect(train.length).toBeGreaterThan(0)
          expect(heldOut.length).toBeGreaterThan(0)
          expect(texts(train).filter((line) => measured.has(line))).toEqual([])
          expect(train.length + ids.filter((id) => measured.has(String(id))).length).toBe(ids.length)
        }
      },
    )
    await fc.assert(property, { numRuns: 60, seed: 3 })
  })

  test('joins files of one language and community, and keeps communities apart', async () => {
    const corpora = await loadDataset(
      [
        await source(lines(5, 'a').join('\n')),
        await source(lines(5, 'b').join('\n'), 'SW'),
        await source(lines(5, 'c').join('\n'), 'sw', 'fishers'),
      ],
      split,
    )
    expect(corpora.map(({ language, community }) => [language, community])).toEqual([
      ['sw', ''],
      ['sw', 'fishers'],
    ])
    expect(corpora[0]!.train.length + corpora[0]!.heldOut.length).toBe(10)
  })

  test('cuts long lines between characters', async () => {
    const line = Array.from({ length: 5000 }, (_, index) => `ꯃ€ñ𝄞${index}`).join('')
    const [corpus] = await loadDataset([await source(line)], split)
    const documents = [...corpus!.train, ...corpus!.heldOut]
    expect(documents.length).toBeGreaterThan(5)
    for (const { bytes } of documents) {
      expect(bytes.length).toBeLessThanOrEqual(MAX_DOCUMENT_BYTES)
      expect(() => new TextDecoder('utf-8', { fatal: true }).decode(bytes)).not.toThrow()
    }
    expect(documents.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(Buffer.byteLength(line))
  })

  test.each([
    ['empty', ''],
    ['blank', ' \n\r\n\t\u00a0\n'],
    ['not UTF-8', Uint8Array.of(0x61, 0x0a, 0xc3, 0x28)],
    ['truncated UTF-8', Uint8Array.of(0x61, 0x0a, 0xe2, 0x82)],
    ['a single line', 'moja'],
    ['one line again and again', 'moja\nmoja\nmoja'],
  ])('refuses text that is %s, naming the file', async (_, content) => {
    const bad = await source(content)
    await expect(loadDataset([bad], split)).rejects.toEqual(invalid(bad.path))
  })

  test('refuses what is missing, not text, or nothing at all', async () => {
    const language = ensureLanguageTag('sw')
    const missing = join(root, 'missing.txt')
    await expect(loadDataset([{ path: missing, language, community: '' }], split)).rejects.toEqual(invalid(missing))
    await expect(loadDataset([{ path: '/dev/zero', language, community: '' }], split)).rejects.toEqual(
      invalid('/dev/zero'),
    )
    const empty = join(root, 'no-text')
    await mkdir(empty)
    await expect(loadDataset([{ path: empty, language, community: '' }], split)).rejects.toEqual(invalid(empty))
    await expect(loadDataset([], split)).rejects.toEqual(expect.objectContaining({ code: 'DATA_INVALID' }))
  })

  test('refuses more text than it may hold before reading it', async () => {
    const huge = await source('')
    await truncate(huge.path, MAX_DATASET_BYTES + 1)
    await expect(loadDataset([huge], split)).rejects.toEqual(invalid(huge.path))
  })
})

describe('discoverSources', () => {
  async function folder(files: Record<string, string>): Promise<string> {
    const directory = await mkdtemp(join(root, 'folder-'))
    for (const [name, content] of Object.entries(files)) {
      await mkdir(join(directory, name, '..'), { recursive: true })
      await writeFile(join(directory, name), content)
    }
    return directory
  }

  test('finds <tag>.txt and <tag>/*.txt in order, verbatim, and leaves the rest alone', async () => {
    const directory = await folder({
      'quz.txt': 'a',
      'pt-BR/2.txt': 'b',
      'pt-BR/1.txt': 'c',
      '.hidden.txt': '',
      'README.md': '',
    })
    const sources = await discoverSources(directory, 'fishers')
    expect(sources).toEqual([
      { path: join(directory, 'pt-BR'), language: 'pt-BR', community: 'fishers' },
      { path: join(directory, 'quz.txt'), language: 'quz', community: 'fishers' },
    ])
    const corpora = await loadDataset([sources[0]!], split)
    expect(texts([...corpora[0]!.train, ...corpora[0]!.heldOut]).sort()).toEqual(['b', 'c'])
  })

  test('refuses names that are no language, empty folders and missing ones', async () => {
    const named = await folder({ 'sw.txt': 'a', 'my notes.txt': 'b' })
    await expect(discoverSources(named)).rejects.toEqual(invalid(join(named, 'my notes.txt')))
    const empty = await folder({})
    await expect(discoverSources(empty)).rejects.toEqual(invalid(empty))
    await expect(discoverSources(join(root, 'nowhere'))).rejects.toEqual(invalid('nowhere'))
  })
})
