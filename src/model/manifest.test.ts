import { beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { ARCHITECTURE, sampleManifest, sampleTraining } from '../../test/interop/checkpoint.ts'
import { makeFederation } from '../../test/interop/federation.ts'
import { canonicalBytes, type Json } from '../core/canonical-json.ts'
import { F32, parseCodecText } from '../core/codec.ts'
import { digestOf } from '../core/digest.ts'
import { type CardOptions, modelCard } from './card.ts'
import { type Manifest, manifestBytes, manifestDigest, parseManifest } from './manifest.ts'
import { trainingContent } from './training-content.ts'

let manifest: Manifest
beforeAll(async () => {
  const file = (path: string) => ({ path, digest: digestOf(path), size: path.length })
  manifest = {
    ...sampleManifest(await makeFederation()),
    files: [file('b.json'), file('a/weights.bin'), file('a.json')],
  }
})

/** The manifest's JSON with a member replaced, in canonical form but not arranged or checked. */
function bytesWith(change: Record<string, Json>): Uint8Array {
  return canonicalBytes({ ...parseManifest(manifestBytes(manifest)), ...change })
}

function fileAt(path: string): Record<string, Json> {
  return { files: [{ path, digest: digestOf('x'), size: 1 }] }
}

describe('manifestBytes', () => {
  it('does not depend on the order in which things are given', () => {
    const shuffled = {
      ...manifest,
      contributions: [...manifest.contributions].reverse(),
      files: [...manifest.files].reverse(),
      scores: Object.fromEntries(Object.entries(manifest.scores).reverse()),
    }
    expect(manifestBytes(shuffled)).toEqual(manifestBytes(manifest))
    expect(manifestDigest(shuffled)).toBe(digestOf(manifestBytes(manifest)))
  })

  it('comes back from parseManifest', () => {
    const parsed = parseManifest(manifestBytes(manifest))
    expect(manifestBytes(parsed)).toEqual(manifestBytes(manifest))
    expect(parsed.files.map(({ path }) => path)).toEqual(['a.json', 'a/weights.bin', 'b.json'])
  })

  it('names a codec where updates were encoded, and only there', () => {
    const codec = parseCodecText('int8:block=64')
    expect(parseManifest(manifestBytes({ ...manifest, codec })).codec).toEqual(codec)
    expect(Buffer.from(manifestBytes(manifest)).includes('codec')).toBe(false)
    expect(() => manifestBytes({ ...manifest, codec: F32 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
  })

  it('refuses to write what could not be read', () => {
    const broken = { ...manifest, contributions: manifest.contributions.map((one) => ({ ...one, weight: 0.3 })) }
    expect(() => manifestBytes(broken)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('parseManifest', () => {
  const refused = expect.objectContaining({ code: 'VERIFICATION_FAILED' })

  it.each([
    '../x',
    'a/../x',
    '/etc/passwd',
    'C:\\x',
    'a\\b',
    'c:x',
    '',
    '.',
    './a',
    'a//b',
    'a/',
    '.hidden',
    'a/.hidden',
    'a\u0000b',
    'a\nb',
    'é',
    'manifest.json',
    'MANIFEST.JSON',
    'manifest.sig',
    'federation.json',
    'manifest.json/x',
    'x'.repeat(200),
    'a.',
  ])('refuses the path %j', (path) => {
    expect(() => parseManifest(bytesWith(fileAt(path)))).toThrow(refused)
  })

  it.each([[['a', 'a']], [['A', 'a']], [['B/c', 'b/c']], [['a', 'a/b']], [['A/b', 'a']], [['b', 'a']]])(
    'refuses the paths %j together',
    (paths) => {
      const files = paths.map((path) => ({ path, digest: digestOf('x'), size: 1 }))
      expect(() => parseManifest(bytesWith({ files }))).toThrow(refused)
    },
  )

  it('accepts ordinary paths', () => {
    expect(parseManifest(bytesWith(fileAt('shards/model-00001-of-00002.safetensors'))).files).toHaveLength(1)
  })

  it.each<[string, Record<string, Json>]>([
    ['an unknown member', { time: 1 }],
    ['another format', { format: 'tapestry-manifest/2' }],
    ['a bad digest', { plan: 'sha256:00' }],
    ['a bad run', { run: '../x' }],
    ['a negative version', { version: -1 }],
    ['a fraction', { round: 1.5 }],
    ['a number above 2^53', { version: 2 ** 53 }],
    ['a bad language tag', { scores: { 'not a tag': { base: {}, candidate: {}, measuredBy: [] } } }],
    ['a missing member', { files: null }],
  ])('refuses %s', (_, change) => {
    expect(() => parseManifest(bytesWith(change))).toThrow(refused)
  })

  it.each([[[0.5, 0.4]], [[0.5, 0.5 + 1e-8]], [[1.5, -0.5]], [[2, -1]], [[0, 0]]])(
    'refuses the weights %j',
    (weights) => {
      const contributions = sorted(weights)
      expect(() => parseManifest(bytesWith({ contributions }))).toThrow(refused)
    },
  )

  it.each([[[1, 0]], [[0.5, 0.5 + 1e-10]]])('accepts the weights %j', (weights) => {
    const contributions = sorted(weights)
    expect(parseManifest(bytesWith({ contributions })).contributions).toHaveLength(2)
  })

  it('accepts an initial checkpoint, which merges nothing', () => {
    const initial = parseManifest(
      bytesWith({ contributions: [], base: null, parents: [], round: 0, version: 0, scores: {} }),
    )
    expect(initial.base).toBeNull()
  })

  it('refuses a contribution that is listed twice, and other orders', () => {
    const [first, second] = sorted([0.5, 0.5])
    expect(() => parseManifest(bytesWith({ contributions: [first, first] as Json }))).toThrow(refused)
    expect(() => parseManifest(bytesWith({ contributions: [second, first] as Json }))).toThrow(refused)
  })

  it('refuses any bytes but the canonical ones', () => {
    const text = Buffer.from(manifestBytes(manifest)).toString('utf8')
    const variants = [
      `${text}\n`,
      ` ${text}`,
      `\ufeff${text}`,
      text.replace('"version":1', '"version":1.0'),
      text.slice(0, -1),
      '',
      'null',
      text.replace('"version":1', '"version":1,"version":1'),
      text.replace('"demo"', '"d\\u0065mo"'),
      text.replace('"reason":"uniform"', '"reason":"\\ud800"'),
      text.replace('{"base"', '{"__proto__":{},"base"'),
    ]
    for (const variant of variants) expect(() => parseManifest(Buffer.from(variant, 'utf8'))).toThrow(refused)
    expect(() => parseManifest(Buffer.from([0xff, 0xfe]))).toThrow(refused)
  })

  function sorted(weights: readonly number[]): Json[] {
    return parseManifest(manifestBytes(manifest)).contributions.map((one, index) => ({
      ...one,
      weight: weights[index] ?? 0,
    }))
  }
})

describe('modelCard', () => {
  let options: CardOptions
  beforeAll(() => {
    const training = trainingContent(sampleTraining(manifest))
    options = { name: 'Demo', license: 'Apache-2.0', architecture: ARCHITECTURE, training }
  })

  it('has front matter that a hub reads', () => {
    const front = modelCard(manifest, options).split('---\n')[1] ?? ''
    expect(parse(front)).toMatchObject({
      language: ['quz', 'sw'],
      license: 'apache-2.0',
      library_name: 'transformers',
      tags: expect.arrayContaining(['tapestry']),
    })
  })

  it('quotes languages that YAML would take for something else, and unknown licences', () => {
    const norwegian = {
      ...manifest,
      scores: {},
      contributions: manifest.contributions.map((one) => ({ ...one, languages: { no: 1 } })),
    }
    const front = modelCard(norwegian, { ...options, license: 'Kaitiakitanga-1.0' }).split('---\n')[1] ?? ''
    expect(parse(front, { version: '1.1' })).toMatchObject({
      language: ['no'],
      license: 'other',
      license_name: 'Kaitiakitanga-1.0',
    })
  })

  it('shows scores, weights and members, the same each time and in whatever order', () => {
    const card = modelCard(manifest, options)
    expect(card).toContain('5.5000 ± 0.0100')
    expect(card).toContain('member-bb')
    expect(card).toContain('0.750000')
    expect(card).toContain(manifest.federation)
    expect(modelCard({ ...manifest, contributions: [...manifest.contributions].reverse() }, options)).toBe(card)
  })

  it('keeps text from outside from becoming markup', () => {
    const card = modelCard(manifest, { ...options, name: 'x\n\n## y | <script>[a](b)' })
    expect(card).not.toContain('\n## y')
    expect(card).not.toMatch(/(?<!\\)<script/)
  })

  it('says that an initial checkpoint merges nothing', () => {
    const initial = { ...manifest, contributions: [], scores: {}, base: null, parents: [] }
    expect(parse(modelCard(initial, options).split('---\n')[1] ?? '')).toMatchObject({ language: [] })
  })
})
