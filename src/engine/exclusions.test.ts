import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { contentOf } from './content.ts'
import { loadDataset } from './dataset.ts'
import { Guard } from './exclusions.ts'

const sw = ensureLanguageTag('sw')
const split = { seed: 1, heldOutFraction: 0.2 }
let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-exclusions-'))
})

afterEach(() => rm(root, { recursive: true }))

async function source(files: Record<string, string>, folder = 'sw') {
  await mkdir(join(root, folder), { recursive: true })
  for (const [name, text] of Object.entries(files)) await writeFile(join(root, folder, name), text)
  return { path: join(root, folder), language: sw, community: '' }
}

/** Every line that is left, trained on or held out. */
async function left(
  exclusions: { paths?: string[]; terms?: string[] },
  ...sources: Awaited<ReturnType<typeof source>>[]
) {
  const guard = new Guard({ paths: [], terms: [], ...exclusions })
  const corpora = await loadDataset(sources, split, guard)
  const documents = corpora.flatMap(({ train, heldOut }) => [...train, ...heldOut])
  return { lines: documents.map(({ bytes }) => Buffer.from(bytes).toString('utf8')).sort(), excluded: guard.excluded }
}

describe('protected terms', () => {
  it.each([
    ['as written', 'mwali', 'the mwali rite'],
    ['in capitals', 'mwali', 'The MWALI rite'],
    ['full width', 'mwali', 'the ｍｗａｌｉ rite'],
    ['composed otherwise', 'caf\u00e9', 'the cafe\u0301 rite'],
    ['inside a word', 'mwali', 'themwalirite'],
  ])('keep a line out %s', async (_, term, line) => {
    const text = await source({ 'a.txt': `moja\nmbili\n${line}\n` })
    expect(await left({ terms: [term] }, text)).toEqual({
      lines: ['mbili', 'moja'],
      excluded: { files: 0, documents: 1 },
    })
  })

  it('keep all of a long line out, not a piece of it', async () => {
    const text = await source({ 'a.txt': `moja\nmbili\n${'x'.repeat(20_000)} mwali\n` })
    expect((await left({ terms: ['mwali'] }, text)).lines).toEqual(['mbili', 'moja'])
  })
})

describe('protected paths', () => {
  it.each([
    ['a folder by name', ['sacred']],
    ['a folder with a slash', ['sacred/']],
    ['a pattern', ['**/sacred/*.txt']],
    ['a part of a name', ['sac*']],
    ['one letter', ['sacre?']],
  ])('keep files out: %s', async (_, paths) => {
    const open = await source({ 'a.txt': 'moja\nmbili\n' })
    const hidden = await source({ 'b.txt': 'siri\nsiri mbili\n' }, 'sacred')
    expect(await left({ paths }, open, hidden)).toEqual({
      lines: ['mbili', 'moja'],
      excluded: { files: 1, documents: 0 },
    })
  })

  it('keep out an absolute path, and what a link leads to', async () => {
    const open = await source({ 'a.txt': 'moja\nmbili\n' })
    const hidden = await source({ 'b.txt': 'siri\nsiri mbili\n' }, 'sacred')
    await symlink(join(hidden.path, 'b.txt'), join(open.path, 'harmless.txt'))
    const found = await left({ paths: [hidden.path] }, open, hidden)
    expect(found).toEqual({ lines: ['mbili', 'moja'], excluded: { files: 2, documents: 0 } })
  })

  it('are no regular expressions', async () => {
    const open = await source({ 'a.txt': 'moja\nmbili\n' })
    expect((await left({ paths: ['.*', 'a(', '[a-z]', '\\'] }, open)).lines).toEqual(['mbili', 'moja'])
  })
})

it('says so when nothing is left', async () => {
  const text = await source({ 'a.txt': 'mwali moja\nmwali mbili\n' })
  await expect(left({ terms: ['mwali'] }, text)).rejects.toMatchObject({ code: 'DATA_INVALID' })
  await expect(left({ paths: ['sw'] }, text)).rejects.toMatchObject({ code: 'DATA_INVALID' })
})

describe('contentOf', () => {
  it('is the same for the same lines in other files and order, and another for one line more', async () => {
    const one = await contentOf([await source({ 'a.txt': 'moja\nmbili\n', 'b.txt': 'tatu' }, 'one')])
    expect(await contentOf([await source({ 'c.txt': ' tatu \r\n\nmoja\nmbili\nmoja' }, 'two')])).toBe(one)
    expect(await contentOf([await source({ 'c.txt': 'tatu\nmoja\nmbili\nnne' }, 'three')])).not.toBe(one)
  })

  it('says nothing of what is protected', async () => {
    const plain = await contentOf([await source({ 'a.txt': 'moja\nmbili\n' }, 'one')])
    const guarded = await source({ 'a.txt': 'moja\nmbili\nmwali\n' }, 'two')
    expect(await contentOf([guarded], { paths: [], terms: ['mwali'] })).toBe(plain)
  })
})
