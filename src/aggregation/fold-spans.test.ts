import { open, readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Floats, generator, mergedBytes, TensorFiles, tensors } from '../../test/tensor-files.ts'
import { F32 } from '../core/codec.ts'
import { encodeHeader } from '../model/safetensors.ts'
import { type BlockShape, sumCount, TILE } from './block-layout.ts'
import { foldSpans } from './fold-spans.ts'
import { type Layout, layoutOf, readDeltaLayout, readFloatHeader } from './merge-layout.ts'
import { type MergeTask, spansOf } from './merge-task.ts'

let files: TensorFiles

beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

/** Folds a model in this thread, as workers would. */
async function fold(layouts: Layout[], model: readonly Floats[], weights: readonly number[], shape: BlockShape) {
  const path = files.fresh('out')
  const header = encodeHeader(model)
  const elements = model.reduce((sum, { data }) => sum + data.length, 0)
  const file = await open(path, 'wx')
  await file.writeFile(header)
  await file.close()
  const sums = new SharedArrayBuffer(spansOf(elements, sumCount(weights.length)).length * sumCount(weights.length) * 8)
  const nextSpan = new SharedArrayBuffer(4)
  const rule = { kind: 'weighted', coefficients: weights } as const
  const out = [{ path, first: 0, position: header.byteLength }]
  const place = { out, elements, nextSpan, sums }
  const task: MergeTask = { kind: 'merge', layouts, rule, optimizer: undefined, shape, ...place }
  let done = 0
  foldSpans(task, (count) => {
    done += count
  })
  expect(done).toBe(elements)
  return { bytes: await readFile(path), sums: new Float64Array(sums) }
}

const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: TILE - 2, max: 3 * TILE })), {
  minLength: 1,
  maxLength: 5,
})
const cut = fc.record({
  elements: fc.integer({ min: 1, max: 4 }).map((n) => n * TILE),
  group: fc.integer({ min: 1, max: 6 }),
})
const manyWeights = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 5 })

test('bytes and sums do not depend on blocks, on groups or on where a file keeps its tensors', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, manyWeights, cut, cut, fc.nat(), async (counts, weights, one, other, seed) => {
      const shapes = Object.fromEntries(counts.map((count, i) => [`t${(i * 7) % 5}`, [count]]))
      const next = generator(seed)
      const base = tensors(shapes, next)
      const deltas = weights.map(() => tensors(shapes, next))
      const header = await readFloatHeader(await files.save(base))
      const shuffled = (data: readonly Floats[]) =>
        [...data].sort((a, b) => Number(next() > 0) - 0.5 || a.data.length - b.data.length)
      const own: Layout[] = []
      const foreign: Layout[] = []
      for (const data of [base, ...deltas]) {
        own.push(await readDeltaLayout(await files.save(data), header, F32))
        foreign.push(await readDeltaLayout(await files.saveInOrder(shuffled(data)), header, F32))
      }
      const first = await fold(own, base, weights, one)
      expect(await fold(foreign, base, weights, other)).toEqual(first)
      expect(first.bytes.equals(mergedBytes(base, deltas, weights))).toBe(true)
    }),
    { seed: 20_261_123, numRuns: 15 },
  )
})

test('a canonical file is one run, and spans cover a model without overlap', async () => {
  const path = await files.save(tensors({ b: [3], a: [2, 2], none: [0], c: [] }, generator(1)))
  const header = await readFloatHeader(path)
  expect(layoutOf(path, header).runs).toEqual([{ file: 0, first: 0, count: 8, position: header.dataBegin }])
  for (const elements of [0, 1, TILE, TILE + 1, 63 * TILE, 65 * TILE, 7_000_000_001]) {
    const spans = spansOf(elements, 2)
    expect(spans.length).toBeLessThanOrEqual(64)
    expect(spans.map(({ first }) => first)).toEqual([0, ...spans.map(({ end }) => end)].slice(0, spans.length))
    expect(spans.at(-1)?.end ?? 0).toBe(elements)
    expect(spans.every(({ first }) => first % TILE === 0)).toBe(true)
  }
})
