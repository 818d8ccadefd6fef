import { readFile } from 'node:fs/promises'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Floats, generator, mergedBytes, TensorFiles, tensors } from '../../test/tensor-files.ts'
import { byteLength } from '../model/safetensors.ts'
import { shardPaths, shardsOf } from '../model/weight-index.ts'
import { TILE } from './block-layout.ts'
import { mergeMean } from './merge.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

const sizes = fc.array(fc.oneof(fc.nat(40), fc.integer({ min: TILE - 2, max: 3 * TILE })), {
  minLength: 2,
  maxLength: 6,
})
/** Bytes of the largest shard, for the base and for the result. */
const shardBytes = fc.integer({ min: 1, max: 20 * TILE })

test('a merge has the same values however base and result are cut into shards', { timeout: 240_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(sizes, shardBytes, shardBytes, fc.nat(), async (counts, before, after, seed) => {
      const next = generator(seed)
      const shapes = Object.fromEntries(counts.map((count, i) => [`t${(i * 7) % 6}`, [count]]))
      const [base, ...updates] = [0, 1, 2].map(() => tensors(shapes, next)) as [Floats[], ...Floats[][]]
      const deltas = await Promise.all(updates.map(async (data) => ({ path: await files.save(data), weight: 0.5 })))
      const whole = await mergeMean({ base: [await files.save(base)], deltas, out: files.fresh('whole') })
      const shards: string[] = []
      for (const part of shardsOf(base, before)) shards.push(await files.save(part))
      const cut = await mergeMean({ base: shards, deltas, out: files.fresh('cut'), shardBytes: after })

      expect({ ...cut, files: [] }).toEqual({ ...whole, files: [] })
      const expected = shardsOf(base, after)
      expect(cut.files.map(({ tensors: names }) => names)).toEqual(expected.map((part) => part.map(({ name }) => name)))
      expect(cut.files.map(({ path }) => path)).toEqual(
        shardPaths(cut.files[0]?.path.replace(/-0{4}1-of.*/, '') ?? '', cut.files.length),
      )
      for (const [i, { path, tensorBytes }] of cut.files.entries()) {
        const names = new Set(expected[i]?.map(({ name }) => name))
        const of = (all: readonly Floats[]) => all.filter(({ name }) => names.has(name))
        expect((await readFile(path)).equals(mergedBytes(of(base), updates.map(of), [0.5, 0.5]))).toBe(true)
        expect(tensorBytes).toBe(of(base).reduce((sum, spec) => sum + byteLength(spec), 0))
      }
    }),
    { numRuns: 6 },
  )
})

test('shards that hold the same tensor are refused, and leave nothing', async () => {
  const [one, other] = [1, 2].map((seed) => tensors({ a: [4], b: [4] }, generator(seed))) as [Floats[], Floats[]]
  const base = [await files.save(one), await files.save(other.slice(1))]
  const deltas = [{ path: await files.save(one), weight: 1 }]
  const merging = mergeMean({ base, deltas, out: files.fresh('out'), shardBytes: 16 })
  await expect(merging).rejects.toMatchObject({ code: 'DATA_INVALID' })
})
