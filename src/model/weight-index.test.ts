import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { canonicalBytes } from '../core/canonical-json.ts'
import { digestOf } from '../core/digest.ts'
import { byteLength, inNameOrder, writeSafetensors } from './safetensors.ts'
import type { TensorSpec } from './tensor.ts'
import {
  checkShards,
  contentsOf,
  indexBytes,
  indexOf,
  parseIndex,
  readIndex,
  shardPaths,
  shardsOf,
  type WeightIndex,
  weightFilesAmong,
  weightsAmong,
} from './weight-index.ts'

const root = await mkdtemp(join(tmpdir(), 'weight-index-'))
afterAll(() => rm(root, { recursive: true }))

const unverified = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
const vector = (name: string, size: number): TensorSpec => ({ name, dtype: 'F32', shape: [size] })
const models = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 8, unit: fc.constantFrom('a', 'b', '.', '1') }), { maxLength: 20 })
  .chain((names) => fc.tuple(...names.map((name) => fc.nat(300).map((size) => vector(name, size)))))

function indexFor(shards: readonly (readonly TensorSpec[])[]): WeightIndex {
  return indexOf(
    shards.map(contentsOf),
    shards.map((_, i) => ({ digest: digestOf(`shard ${i}`), size: 100 + i })),
  )
}

test('shards hold every tensor once, in order of name, and grow beyond the limit by no second tensor', () => {
  fc.assert(
    fc.property(models, fc.integer({ min: 1, max: 2000 }), (specs, most) => {
      const shards = shardsOf(specs, most)
      expect(shards.flat()).toEqual(inNameOrder(specs))
      for (const [i, shard] of shards.entries()) {
        const bytes = shard.reduce((sum, spec) => sum + byteLength(spec), 0)
        expect(bytes <= most || shard.filter((spec) => byteLength(spec) > 0).length === 1).toBe(true)
        const next = shards[i + 1]?.[0]
        if (next !== undefined) expect(bytes + byteLength(next)).toBeGreaterThan(most)
      }
    }),
  )
})

test('an index is read back as it was written', () => {
  fc.assert(
    fc.property(models, fc.integer({ min: 1, max: 2000 }), (specs, most) => {
      const shards = shardsOf(specs, most)
      fc.pre(shards.length > 1)
      const index = indexFor(shards)
      expect(parseIndex(indexBytes(index))).toEqual(index)
    }),
  )
})

describe('an index that lies about its form', () => {
  const shards = shardsOf([vector('a', 10), vector('b', 10), vector('c', 10)], 80)
  const good = JSON.parse(Buffer.from(indexBytes(indexFor(shards))).toString())
  const [first = '', second = ''] = shardPaths('model.safetensors', 2)
  const file = good.metadata.shards[first]
  const withShards = (files: object) => ({ ...good, metadata: { ...good.metadata, shards: files } })
  const withMap = (map: object) => ({ ...good, weight_map: map })

  test('the honest one is taken', () => expect(parseIndex(canonicalBytes(good)).shards).toHaveLength(2))

  test.each<[string, object]>([
    ['a path that leads away', withMap({ ...good.weight_map, a: '../model.safetensors' })],
    ['an absolute path', withMap({ ...good.weight_map, a: '/etc/passwd' })],
    ['a shard that is not listed', withMap({ ...good.weight_map, a: 'model-00003-of-00003.safetensors' })],
    ['a shard without tensors', withMap({ a: first, b: first })],
    ['a shard of another name', withShards({ [first]: file, '../b': file })],
    ['a shard of another count', withShards({ [first]: file, 'model-00002-of-00003.safetensors': file })],
    ['a single shard', { ...withShards({ 'model-00001-of-00001.safetensors': file }), weight_map: {} }],
    ['no shards', { ...withShards({}), weight_map: {} }],
    ['a negative size', withShards({ [first]: file, [second]: { ...file, size: -1 } })],
    ['a digest that is none', withShards({ [first]: file, [second]: { ...file, digest: 'sha256:0' } })],
    ['a fraction of a byte', { ...good, metadata: { ...good.metadata, total_size: 0.5 } }],
    ['more than an index has', { ...good, extra: 1 }],
  ])('%s', (_, json) => {
    expect(() => parseIndex(Buffer.from(JSON.stringify(json)))).toThrow(unverified)
    expect(() => parseIndex(canonicalBytes(Object(json)))).toThrow(unverified)
  })

  test('a tensor that is named twice, and other bytes for the same value', () => {
    const text = Buffer.from(canonicalBytes(good)).toString()
    const twice = text.replace('"weight_map":{', `"weight_map":{"a":"${second}",`)
    expect(() => parseIndex(Buffer.from(twice))).toThrow(unverified)
    expect(() => parseIndex(Buffer.from(`${text} `))).toThrow(unverified)
  })
})

describe('shards on disk', () => {
  const specs = [vector('a', 10), vector('b', 10), vector('c', 10)]
  const shards = shardsOf(specs, 80)
  const paths = shardPaths(join(root, 'model.safetensors'), shards.length)
  const at = (shard: { readonly path: string }) => join(root, shard.path)
  const write = async (contents: readonly (readonly TensorSpec[])[] = shards) => {
    for (const [i, path] of paths.entries()) {
      await writeSafetensors(
        path,
        (contents[i] ?? []).map((spec) => ({ ...spec, data: new Float32Array(spec.shape[0]!) })),
      )
    }
  }

  test('are what their index says', async () => {
    await write()
    await checkShards(indexFor(shards), at)
  })

  test.each<[string, TensorSpec[][]]>([
    ['a tensor is missing', [[vector('a', 20)], [vector('c', 10)]]],
    ['a tensor is too much', [specs, [vector('c', 10)]]],
    ['a tensor is in the other shard', [[vector('a', 10)], [vector('b', 10), vector('c', 10)]]],
    ['two shards are exchanged', [[vector('c', 10)], [vector('a', 10), vector('b', 10)]]],
    ['there are fewer bytes than in all', [[vector('a', 10), vector('b', 9)], [vector('c', 10)]]],
  ])('%s', async (_, contents) => {
    await write(contents)
    await expect(checkShards(indexFor(shards), at)).rejects.toEqual(unverified)
  })

  test('one is cut short, one is gone', async () => {
    await write()
    await truncate(paths[1]!, (await readFile(paths[1]!)).byteLength - 1)
    await expect(checkShards(indexFor(shards), at)).rejects.toEqual(unverified)
    await rm(paths[1]!)
    await expect(checkShards(indexFor(shards), at)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('an index is told from weights by its bytes, and a huge one is not read', async () => {
    await write()
    expect(await readIndex(paths[0]!)).toBeUndefined()
    const path = join(root, 'index')
    await writeFile(path, indexBytes(indexFor(shards)))
    expect(await readIndex(path)).toEqual(indexFor(shards))
    await truncate(path, 25_000_001)
    await expect(readIndex(path)).rejects.toEqual(unverified)
    await expect(readIndex(join(root, 'none'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

test('weights are found among the files of a checkpoint, or not at all', () => {
  const file = (path: string) => ({ path, digest: digestOf(path), size: 1 })
  const shards = shardPaths('model.safetensors', 3).map(file)
  const index = file('model.safetensors.index.json')
  const config = file('config.json')
  expect(weightFilesAmong([config, ...shards.toReversed(), index])).toEqual(shards)
  expect(weightsAmong([config, ...shards, index])).toEqual(index)
  const one = file('model.safetensors')
  expect(weightFilesAmong([config, one])).toEqual([one])
  expect(weightsAmong([config, one])).toEqual(one)
  for (const files of [[config], shards.slice(1), [...shards, file('model-00001-of-00002.safetensors')]]) {
    expect(() => weightFilesAmong(files)).toThrow(unverified)
  }
})
