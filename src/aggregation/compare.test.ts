import { afterAll, beforeAll, expect, test } from 'vitest'
import { generator, TensorFiles, tensors } from '../../test/tensor-files.ts'
import { TILE } from './block-layout.ts'
import { compareDeltas, measureNorms, sampling } from './compare.ts'
import { layoutOf, readFloatHeader } from './merge-layout.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

const ELEMENTS = 70 * TILE + 7

async function vectors(count: number) {
  const next = generator(9)
  const models = Array.from({ length: count }, () => tensors({ w: [ELEMENTS] }, next))
  const layouts = await Promise.all(
    models.map(async (model) => {
      const path = await files.save(model)
      return layoutOf(path, await readFloatHeader(path))
    }),
  )
  return { layouts, data: models.map(([tensor]) => tensor?.data ?? new Float32Array()) }
}

/** The dot product over the tiles that a comparison looks at. */
function sampled(a: Float32Array, b: Float32Array, every: number): number {
  return a.reduce((sum, x, j) => (Math.floor(j / TILE) % every === 0 ? sum + x * (b[j] ?? 0) : sum), 0)
}

test.each([1, 2, 3, 7])('compares every tile in %d, the same for any number of threads', async (every) => {
  const { layouts, data } = await vectors(3)
  const dots = await compareDeltas(layouts, ELEMENTS, { every, threads: 1 })
  const again = await compareDeltas(layouts, ELEMENTS, { every, threads: 2 })
  for (const [i, a] of data.entries()) {
    for (const [j, b] of data.entries()) {
      expect(dots.of(i, j)).toBeCloseTo(sampled(a, b, every), 6)
      expect(again.of(i, j)).toBe(dots.of(i, j))
    }
  }
  expect(dots.elements).toBe(data[0]?.filter((_, j) => Math.floor(j / TILE) % every === 0).length)
})

test('norms', async () => {
  const { layouts, data } = await vectors(2)
  const norms = await measureNorms(layouts, ELEMENTS, {})
  for (const [i, x] of data.entries()) expect(norms[i]).toBeCloseTo(Math.sqrt(sampled(x, x, 1)), 8)
})

test('looks at everything while that is cheap, and at ever less of more', () => {
  expect(sampling(10_000, 8)).toBe(1)
  expect(sampling(1e9, 8)).toBeGreaterThan(50)
  expect(sampling(1e9, 64)).toBeGreaterThan(sampling(1e9, 8))
  expect(sampling(0, 5)).toBe(1)
})
