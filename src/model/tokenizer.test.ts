import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { BOS_ID, EOS_ID, encodeText, PAD_ID, tokenizerFiles, VOCABULARY_SIZE } from './tokenizer.ts'

const vocabularySchema = z.object({
  added_tokens: z.array(z.object({ id: z.number(), content: z.string() })),
  model: z.object({ vocab: z.record(z.string(), z.number()), merges: z.array(z.never()) }),
})

function tokenizerJson() {
  const file = tokenizerFiles().find(({ path }) => path === 'tokenizer.json')
  return vocabularySchema.parse(JSON.parse(Buffer.from(file?.bytes ?? []).toString('utf8')))
}

describe('the byte-level tokenizer', () => {
  it('gives the UTF-8 bytes of any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(Buffer.from(encodeText(text)).toString('utf8')).toBe(text)
      }),
      { seed: 1 },
    )
    expect([...encodeText('é')]).toEqual([0xc3, 0xa9])
    expect([...encodeText('\ud800')]).toEqual([0xef, 0xbf, 0xbd])
  })

  it('maps 256 distinct characters to the bytes, as GPT-2 does', () => {
    const { vocab, merges } = tokenizerJson().model
    expect(new Set(Object.values(vocab))).toEqual(new Set(Array.from({ length: 256 }, (_, byte) => byte)))
    expect(vocab).toMatchObject({ Ġ: 0x20, Ċ: 0x0a, A: 0x41, ÿ: 0xff, Ń: 0xad, Ā: 0x00 })
    expect(merges).toEqual([])
  })

  it('puts the specials behind the bytes', () => {
    expect(tokenizerJson().added_tokens.map(({ id }) => id)).toEqual([BOS_ID, EOS_ID, PAD_ID])
    expect(VOCABULARY_SIZE).toBe(PAD_ID + 1)
  })

  it('gives the four files, the same each time', () => {
    const paths = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json']
    expect(tokenizerFiles().map(({ path }) => path)).toEqual(paths)
    expect(tokenizerFiles()).toEqual(tokenizerFiles())
  })
})
