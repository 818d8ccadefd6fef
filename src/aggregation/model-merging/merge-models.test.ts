import { mkdtemp, readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Floats, generator, type Shapes, TensorFiles, tensors } from '../../../test/tensor-files.ts'
import { parseMergingText } from '../../core/model-merging.ts'
import { readSafetensors } from '../../model/safetensors.ts'
import type { Combine } from '../strategies/contribution.ts'
import { dare, slerp, ties } from '../strategies/model-merging.ts'
import { type ModelMerge, mergeModels } from './merge-models.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

const vector = (values: readonly number[]): Floats[] => [
  { name: 'w', dtype: 'F32', shape: [values.length], data: Float32Array.from(values) },
]

async function flat(path: string): Promise<number[]> {
  const parts = [...(await readSafetensors(path))].sort(([a], [b]) => (a < b ? -1 : 1))
  return parts.flatMap(([, { data }]) => [...data])
}

async function merge(
  base: Floats[],
  models: readonly Floats[][],
  text: string,
  options: Partial<ModelMerge> & { readonly foreign?: boolean } = {},
): Promise<string> {
  const save = async (model: Floats[]) => [
    await (options.foreign === true ? files.saveInOrder([...model].reverse()) : files.save(model)),
  ]
  const out = files.fresh('merged')
  await mergeModels({
    base: [await files.save(base)],
    models: await Promise.all(models.map(save)),
    merging: parseMergingText(text),
    out,
    scratch: await mkdtemp(join(files.dir, 'scratch-')),
    ...options,
  })
  return out
}

describe('numbers worked out by hand from the papers', () => {
  test.each<[string, number[], number[][], number[]]>([
    // TIES, algorithm 1: kept [4, 0, 0, 2] and [0, 3, 0, -5]; signs +, +, none, -; then the mean of those that agree.
    [
      'ties:density=0.5',
      [0, 0, 0, 0],
      [
        [4, -1, 0.1, 2],
        [2, 3, -0.2, -5],
      ],
      [4, 3, 0, -5],
    ],
    // The same around another base, with lambda 0.5.
    [
      'ties:density=0.5,strength=0.5',
      [1, 1, 1, 1],
      [
        [5, 0, 1.1, 3],
        [3, 4, 0.8, -4],
      ],
      [3, 2.5, 1, -1.5],
    ],
    // Three against one: the larger total magnitude wins, not the larger number.
    ['ties:density=1', [0], [[1], [1], [-5]], [-5]],
    ['ties:density=0.2', [0, 0, 0, 0, 0], [[1, 2, -3, 4, 5]], [0, 0, 0, 0, 5]],
    // SLERP: halfway over a right angle, and a third of it.
    [
      'slerp',
      [0, 0],
      [
        [1, 0],
        [0, 1],
      ],
      [Math.SQRT1_2, Math.SQRT1_2],
    ],
    [
      'slerp:t=0.333333333333',
      [1, 1],
      [
        [2, 1],
        [1, 2],
      ],
      [1 + Math.cos(Math.PI / 6), 1.5],
    ],
    [
      'slerp',
      [0, 0],
      [
        [1, 1],
        [3, 3],
      ],
      [2, 2],
    ],
    // DARE without drops is the mean of the task vectors.
    [
      'dare:rate=0,seed=1',
      [1, 1],
      [
        [2, 1],
        [2, 3],
      ],
      [2, 2],
    ],
  ])('%s', async (text, base, models, expected) => {
    const result = await flat(await merge(vector(base), models.map(vector), text))
    for (const [j, value] of expected.entries()) expect(result[j]).toBeCloseTo(value, 6)
  })
})

const SHAPES: Shapes = { 'b.weight': [3, 700], a: [1031], empty: [0, 4], scalar: [] }
const IN_MEMORY: readonly [string, Combine, number][] = [
  ['ties:density=0.2', ties(0.2, 1), 5],
  ['ties:density=0.7,strength=0.3', ties(0.7, 0.3), 3],
  ['dare:rate=0.9,seed=42', dare(0.9, 42), 4],
  ['slerp', slerp, 2],
]

describe.each(IN_MEMORY)('%s', (text, combine, count) => {
  const make = () => {
    const next = generator(5)
    return { base: tensors(SHAPES, () => 0), models: Array.from({ length: count }, () => tensors(SHAPES, next)) }
  }

  test('is its definition in memory', async () => {
    const { base, models } = make()
    const vectors = models.map((model) => {
      const parts = [...model].sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ data }) => [...data])
      return { delta: Float32Array.from(parts.flat()), weight: 1 }
    })
    const expected = combine(vectors)
    const result = await flat(await merge(base, models, text))
    expect(result.length).toBe(expected.length)
    for (const [j, value] of expected.entries()) expect(Math.abs(result[j]! - value)).toBeLessThan(1e-6)
  })

  test('gives the same bytes for any blocks, threads and order of tensors', async () => {
    const { models } = make()
    const base = tensors(SHAPES, (i) => Math.sin(i))
    const whole = await readFile(await merge(base, models, text))
    for (const options of [
      { block: 7, threads: 1 },
      { block: 1000, threads: 3, foreign: true },
    ]) {
      expect((await readFile(await merge(base, models, text, options))).equals(whole)).toBe(true)
    }
  })
})

test('DARE keeps the sum in expectation, and depends on its seed', async () => {
  const ones = vector(new Array(20_000).fill(1))
  const zeros = vector(new Array(20_000).fill(0))
  const first = await flat(await merge(zeros, [ones], 'dare:rate=0.75,seed=42'))
  expect(new Set(first)).toEqual(new Set([0, 4]))
  expect(first.reduce((sum, x) => sum + x, 0) / first.length).toBeCloseTo(1, 1)
  expect(await flat(await merge(zeros, [ones], 'dare:rate=0.75,seed=42'))).toEqual(first)
  expect(await flat(await merge(zeros, [ones], 'dare:rate=0.75,seed=43'))).not.toEqual(first)
})

describe('refuses', () => {
  const base = vector([1, 2])
  test.each<[string, Floats[][], string, string]>([
    ['three models on an arc', [base, base, base], 'slerp', 'INVALID_ARGUMENT'],
    ['one model on an arc', [base], 'slerp', 'INVALID_ARGUMENT'],
    ['nothing', [], 'ties', 'INVALID_ARGUMENT'],
    ['another shape', [vector([1, 2, 3])], 'ties', 'DATA_INVALID'],
    ['a NaN', [vector([1, Number.NaN])], 'ties', 'DATA_INVALID'],
    ['an infinity', [vector([1, Number.NEGATIVE_INFINITY])], 'dare:seed=1', 'DATA_INVALID'],
    ['a difference that f32 cannot hold', [vector([3e38, 1])], 'ties', 'DATA_INVALID'],
  ])('%s', async (name, models, text, code) => {
    const from = name.includes('difference') ? vector([-3e38, 1]) : base
    await expect(merge(from, models, text)).rejects.toMatchObject({ code })
  })

  test('a file that was cut short, and a merge that is stopped', async () => {
    const cut = await files.save(base)
    await truncate(cut, (await readFile(cut)).byteLength - 4)
    await expect(merge(base, [base], 'ties', { models: [[cut]] })).rejects.toMatchObject({ code: 'DATA_INVALID' })
    const stopped = merge(base, [base], 'ties', { signal: AbortSignal.abort(new Error('stop')) })
    await expect(stopped).rejects.toThrow('stop')
  })

  test.each([
    'ties:density=0',
    'ties:density=1.5',
    'dare',
    'dare:rate=1,seed=1',
    'dare:seed=1.5',
    'slerp:t=2',
    'mean',
    '',
  ])('the method "%s"', (text) => {
    expect(() => parseMergingText(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
