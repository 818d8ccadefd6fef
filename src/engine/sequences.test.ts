import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { BOS_ID, EOS_ID, encodeText, PAD_ID } from '../model/tokenizer.ts'
import { randomFrom } from '../plan/random.ts'
import type { Corpus, Document } from './dataset.ts'
import { countedTokens, isCounted, type Sequence, scoringSequences, trainingSequences } from './sequences.ts'
import { TrainingMix } from './training-mix.ts'

const documents = (...texts: string[]): Document[] =>
  texts.map((text, index) => ({ bytes: encodeText(text), rank: index / texts.length }))
const counted = (sequences: readonly Sequence[]) =>
  sequences.reduce((sum, { labels }) => sum + labels.filter(isCounted).length, 0)
const someTexts = fc.array(fc.string({ minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 20 })

describe('scoringSequences', () => {
  test('count every token of the text once, in at least two sequences of full length', () => {
    fc.assert(
      fc.property(someTexts, fc.integer({ min: 1, max: 50 }), (texts, length) => {
        const sequences = scoringSequences(documents(...texts), length, 100_000)
        expect(counted(sequences)).toBe(countedTokens(documents(...texts)))
        expect(sequences.length).toBeGreaterThanOrEqual(2)
        for (const { ids, labels } of sequences) expect([ids.length, labels.length]).toEqual([length, length])
      }),
      { seed: 4 },
    )
  })

  test('predict the next token of the stream', () => {
    const [first, second] = scoringSequences(documents('abcdefgh', 'ijklmnop'), 4, 100)
    const [a, b, c, d] = encodeText('abcd')
    expect(first).toEqual({ ids: [BOS_ID, a, b, PAD_ID], labels: [a, b, c, PAD_ID] })
    expect(second).toEqual({ ids: [c, d, d! + 1, PAD_ID], labels: [d, d! + 1, d! + 2, PAD_ID] })
  })

  test('stop at the most that is wanted', () => {
    expect(scoringSequences(documents('a'.repeat(1000)), 10, 7).length).toBe(7)
  })
})

describe('trainingSequences', () => {
  test('go through every document before any comes again', () => {
    const texts = ['one', 'two', 'three', 'four', 'five']
    const stream = trainingSequences(documents(...texts), 3, randomFrom('epochs'))
    const ids: number[] = []
    while (ids.filter((id) => id === EOS_ID).length < 10) ids.push(...stream.next().value.sequence.ids)
    const text = Buffer.from(ids.map((id) => (id > 255 ? 10 : id))).toString()
    const read = text.split('\n').filter((word) => word !== '')
    expect(read.slice(0, 5).toSorted()).toEqual(texts.toSorted())
    expect(read.slice(5, 10).toSorted()).toEqual(texts.toSorted())
    expect(read.slice(0, 5)).not.toEqual(read.slice(5, 10))
  })

  test('work when a document is much shorter or longer than a sequence', () => {
    for (const text of ['a', 'b'.repeat(1000)]) {
      const stream = trainingSequences(documents(text), 16, randomFrom('lengths'))
      for (let turn = 0; turn < 100; turn++) expect(stream.next().value.sequence.labels.length).toBe(16)
    }
  })
})

describe('TrainingMix', () => {
  const corpus = (tag: string, community: string, texts: string[]): Corpus => ({
    language: ensureLanguageTag(tag),
    community,
    train: documents(...texts),
    heldOut: [],
  })
  const random = (name: string) => randomFrom(`mix ${name}`)

  test('gives every language the same share, whatever its size, and communities share theirs', () => {
    const corpora = [
      corpus(
        'sw',
        '',
        Array.from({ length: 500 }, (_, index) => `habari ${index}`),
      ),
      corpus('zu', 'a', ['sawubona', 'yebo']),
      corpus('zu', 'b', ['unjani', 'cha']),
    ]
    const mix = new TrainingMix(corpora, 16, random)
    for (let turn = 0; turn < 400; turn++) mix.next()
    const [sw, a, b] = corpora.map((each) => mix.drawn(each).tokens)
    expect(Math.abs(sw! / (a! + b!) - 1)).toBeLessThan(0.1)
    expect(Math.abs(a! / b! - 1)).toBeLessThan(0.15)
  })

  test('draws the same from a corpus whatever is beside it', () => {
    const [sw, zu] = [corpus('sw', '', ['moja', 'mbili', 'tatu']), corpus('zu', '', ['kunye', 'kubili'])]
    const [alone, beside] = [new TrainingMix([sw], 8, random), new TrainingMix([sw, zu], 8, random)]
    for (let turn = 0; turn < 20; turn++) {
      expect(beside.next()).toEqual(alone.next())
      beside.next()
    }
  })
})
