import { describe, expect, test } from 'vitest'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { EOS_ID, encodeText } from '../model/tokenizer.ts'
import { PRESETS } from '../plan/presets.ts'
import type { PlanSpec } from '../plan/spec.ts'
import { LEFT_OUT } from '../plan/train-graph.ts'
import type { Corpus } from './dataset.ts'
import { competingVocabulary } from './training.ts'

const withVocabulary = (vocabulary: PlanSpec['training']['vocabulary']): PlanSpec => ({
  ...PRESETS.tiny,
  training: { ...PRESETS.tiny.training, vocabulary },
})

function corpus(tag: string, ...texts: string[]): Corpus {
  const documents = texts.map((text) => ({ bytes: encodeText(text), rank: 0 }))
  return { language: ensureLanguageTag(tag), community: '', train: documents, heldOut: documents }
}

function competing(spec: PlanSpec, corpora: readonly Corpus[]): number[] {
  const data = competingVocabulary(spec, corpora)['vocabulary']?.data as Float32Array
  expect([...data].every((value) => value === 0 || value === Math.fround(LEFT_OUT))).toBe(true)
  return [...data.keys()].filter((token) => data[token] === 0)
}

describe('competingVocabulary', () => {
  test('asks nothing of a graph that trains on all tokens', () => {
    expect(competingVocabulary(withVocabulary('all'), [corpus('sw', 'abc')])).toEqual({})
  })

  test('leaves out what the text does not hold, and what it holds too little of', () => {
    const text = `${'a'.repeat(199)}${'b'.repeat(800)}`
    // 1,000 tokens with EOS: a 19.9 %, b 80 %, EOS 0.1 %.
    expect(competing(withVocabulary({ minShare: 0.001 }), [corpus('sw', text)])).toEqual([97, 98, EOS_ID])
    expect(competing(withVocabulary({ minShare: 0.0011 }), [corpus('sw', text)])).toEqual([97, 98])
  })

  test('counts corpora equally, however long they are', () => {
    const long = corpus('sw', 'a'.repeat(99_999))
    const short = corpus('hi', 'ab')
    expect(competing(withVocabulary({ minShare: 0.01 }), [long, short])).toEqual([97, 98, EOS_ID])
  })
})
