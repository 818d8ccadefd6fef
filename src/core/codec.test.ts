import { describe, expect, it } from 'vitest'
import { CODEC_NAMES, codecText, ensureCodec, F32, keepsResidual, parseCodecText } from './codec.ts'

const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })

describe('ensureCodec', () => {
  it('fills in what is left out', () => {
    expect(ensureCodec('int8', {})).toEqual({ name: 'int8', parameters: { block: 256 } })
    expect(ensureCodec('topk', {})).toEqual({ name: 'topk', parameters: { fraction: 0.01 } })
    expect(ensureCodec('f32', {})).toEqual(F32)
  })

  it.each<[string, Record<string, number>]>([
    ['', {}],
    ['f64', {}],
    ['__proto__', {}],
    ['bf16', { block: 256 }],
    ['int8', { block: 0 }],
    ['int8', { block: 16 }],
    ['int8', { block: 100 }],
    ['int8', { block: 8192 }],
    ['int8', { block: 256.5 }],
    ['int8', { block: Number.NaN }],
    ['topk', { fraction: 0 }],
    ['topk', { fraction: 1.01 }],
    ['topk', { fraction: -0.1 }],
    ['topk', { fraction: Number.NaN }],
    ['topk', { count: 5 }],
  ])('refuses %s with %j', (name, parameters) => {
    expect(() => ensureCodec(name, parameters)).toThrow(refused)
  })
})

describe('parseCodecText', () => {
  it('reads what codecText writes, for every codec', () => {
    for (const name of CODEC_NAMES) {
      const codec = ensureCodec(name, {})
      expect(parseCodecText(codecText(codec))).toEqual(codec)
    }
    expect(codecText(parseCodecText('topk:fraction=1e-7'))).toBe('topk:fraction=1e-7')
  })

  it.each(['int8:', 'int8:block', 'int8:block=-1', 'int8:block=64,block=64', 'bf16:x=1', 'top-k'])(
    'refuses %s',
    (text) => {
      expect(() => parseCodecText(text)).toThrow(refused)
    },
  )
})

it('knows which codec leaves something out for later', () => {
  expect(CODEC_NAMES.filter((name) => keepsResidual(ensureCodec(name, {})))).toEqual(['topk'])
})
