import { createHash } from 'node:crypto'
import { readdir, readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Floats, generator, type Shapes, TensorFiles, tensors } from '../../test/tensor-files.ts'
import { parseStrategyText, type Strategy } from '../core/strategy.ts'
import { readSafetensors } from '../model/safetensors.ts'
import { type BlockShape, TILE } from './block-layout.ts'
import { mergeRound, type RoundRequest, type RoundResult } from './merge-round.ts'
import type { Combine, Contribution } from './strategies/contribution.ts'
import { geometricMedian } from './strategies/geometric-median.ts'
import { krum, multiKrum } from './strategies/krum.ts'
import { clippedMean, elasticMean, weightedMean } from './strategies/mean.ts'
import { optimiserOf, stateVectorsOf } from './strategies/optimiser-of.ts'
import { median, trimmedMean } from './strategies/order-statistics.ts'
import { NO_STATE, type OptimiserState } from './strategies/server-optimiser.ts'
import { applyStrategy } from './strategies/strategy.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

const SHAPES: Shapes = { 'b.weight': [3, 700], a: [TILE + 5], empty: [0, 4], scalar: [], z: [2 * TILE] }

/** Each strategy, and its definition over whole vectors in memory. */
const STRATEGIES: readonly [string, Combine][] = [
  ['mean', weightedMean],
  ['clipped-mean:limit=20', clippedMean(20)],
  ['median', median],
  ['trimmed-mean:trim=1', trimmedMean(0.2)],
  ['krum:byzantine=1', krum(1)],
  ['multi-krum:byzantine=1,chosen=3', multiKrum(1, 3)],
  ['geometric-median', geometricMedian(1e-6)],
  ['fedavgm', weightedMean],
  ['fedadam', weightedMean],
  ['fedyogi', weightedMean],
  ['fedadagrad', weightedMean],
  ['diloco', weightedMean],
  ['fedprox:mu=0.01', weightedMean],
  ['easgd:alpha=0.125', elasticMean(0.125)],
]

type Model = readonly Floats[]
type Options = {
  readonly weights?: readonly number[]
  readonly state?: string | undefined
  readonly threads?: number
  readonly shape?: BlockShape
  readonly foreign?: boolean
  readonly compare?: boolean
}
type Merged = RoundResult & { readonly out: string; readonly state: string | undefined; readonly digests: string[] }

async function merge(
  base: Model,
  deltas: readonly Model[],
  strategy: Strategy,
  options: Options = {},
): Promise<Merged> {
  const save = (model: Model) =>
    options.foreign === true ? files.saveInOrder([...model].reverse()) : files.save(model)
  const out = files.fresh('out')
  const stateOut = stateVectorsOf(strategy).length > 0 ? files.fresh('state') : undefined
  const paths = await Promise.all(deltas.map(save))
  const result = await mergeRound({
    base: [await files.save(base)],
    deltas: paths.map((path, i) => ({ path, weight: options.weights?.[i] ?? 1 / deltas.length })),
    out,
    strategy,
    optimizer: stateOut === undefined ? undefined : { before: options.state, out: stateOut },
    threads: options.threads,
    shape: options.shape,
    compare: options.compare,
  })
  const digests = await Promise.all([out, ...(stateOut === undefined ? [] : [stateOut])].map(digest))
  return { ...result, out, state: stateOut, digests }
}

async function digest(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

/** All elements in order of name: the vector that strategies in memory work on. */
function flat(model: Model): Float32Array {
  const parts = [...model].sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ data }) => [...data])
  return Float32Array.from(parts.flat())
}

async function flatFile(path: string): Promise<Float32Array> {
  const parts = [...(await readSafetensors(path))].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { data }]) => [...data])
  return Float32Array.from(parts.flat())
}

function vector(...values: number[]): Floats[] {
  return [{ name: 'w', dtype: 'F32', shape: [values.length], data: Float32Array.from(values) }]
}

const contributionsOf = (deltas: readonly Model[], weights?: readonly number[]): Contribution[] =>
  deltas.map((delta, i) => ({ delta: flat(delta), weight: weights?.[i] ?? 1 / deltas.length }))

describe('numbers that other systems agree on, from files to files', () => {
  const cases: [string, number[], number[][], number[] | undefined, number[]][] = [
    [
      'mean',
      [0, 0, 0, 0],
      [
        [2, 3, 1.1, 0.1],
        [1, 1, 2.1, 0.5],
      ],
      [1 / 3, 2 / 3],
      [1.333333, 1.666667, 1.766667, 0.366667],
    ],
    ['fedadagrad:rate=0.1,tau=0.5,initialVariance=0', [0.1], [[0.1], [0.9]], undefined, [0.15]],
    [
      'median',
      [0, 0, 0, 0],
      [
        [1, 0.2, 0.5, 1],
        [0.2, 0.5, 1, 0.2],
        [0.5, 1, 0.2, 0.5],
      ],
      undefined,
      [0.5, 0.5, 0.5, 0.5],
    ],
    ['krum:byzantine=1', [0], [[0.2], [0.7], [1]], undefined, [0.7]],
    ['trimmed-mean:trim=1', [0], [[1], [100], [3], [-100]], undefined, [2]],
    [
      'clipped-mean:limit=1',
      [0, 0],
      [
        [3, 4],
        [0, 0.5],
      ],
      undefined,
      [0.3, 0.65],
    ],
    ['multi-krum:byzantine=2,chosen=3', [0], [[1], [1.1], [50], [0.9], [-70]], undefined, [1]],
    [
      'geometric-median',
      [1, 1],
      [
        [0, 0],
        [0, 0],
        [0, 0],
        [9, 9],
      ],
      undefined,
      [1, 1],
    ],
    ['diloco:rate=0.5,beta=0.5', [0], [[1]], undefined, [0.75]],
    ['fedavgm:rate=1,beta=0.5', [0], [[1]], undefined, [1]],
    ['fedprox:mu=1', [0.5], [[1], [3]], undefined, [2.5]],
    // The center moves by alpha of its distance to each: 2 + 0.25 (1 + 3).
    ['easgd:alpha=0.25', [2], [[1], [3]], undefined, [3]],
  ]
  test.each(cases)('%s', async (text, base, deltas, weights, expected) => {
    const models = deltas.map((values) => vector(...values))
    const options = weights === undefined ? {} : { weights }
    const { out } = await merge(vector(...base), models, parseStrategyText(text), options)
    const result = await flatFile(out)
    for (const [j, value] of expected.entries()) expect(result[j]).toBeCloseTo(value, 5)
  })
})

describe.each(STRATEGIES)('%s', (text, combine) => {
  const strategy = parseStrategyText(text)

  test('is its definition in memory, over two rounds', async () => {
    const next = generator(7)
    let base: Model = tensors(SHAPES, next)
    let state: string | undefined
    let remembered: OptimiserState = NO_STATE
    for (const scale of [1, 0.5]) {
      const deltas = [1, 2, 3, 4, 5].map((n) => tensors(SHAPES, () => scale * next() + n / 50))
      const weights = [0.1, 0.3, 0.2, 0.15, 0.25]
      const merged = await merge(base, deltas, strategy, { weights, state })
      const optimise = optimiserOf(strategy) ?? ((delta) => ({ delta, state: NO_STATE }))
      const step = applyStrategy({ combine, optimise }, contributionsOf(deltas, weights), remembered)
      remembered = step.state
      state = merged.state
      const before = flat(base)
      const result = await flatFile(merged.out)
      for (const [j, change] of step.delta.entries()) {
        expect(Math.abs(result[j]! - Math.fround(before[j]! + change))).toBeLessThan(2e-6)
      }
      base = [...(await readSafetensors(merged.out))].map(([name, tensor]) => ({ name, ...tensor }))
    }
    if (state === undefined) return
    const kept = await readSafetensors(state)
    const vectors = stateVectorsOf(strategy)
    expect([...kept.keys()].sort()).toEqual(vectors.flatMap((v) => Object.keys(SHAPES).map((n) => `${v}.${n}`)).sort())
    const stored = await flatFile(state)
    const expected = vectors.flatMap((v) => [...remembered[v]])
    for (const [j, value] of expected.entries()) expect(Math.abs(stored[j]! - value)).toBeLessThan(1e-6)
  })

  test('gives the same bytes for any threads, blocks, groups and order of tensors', async () => {
    const next = generator(11)
    const shapes: Shapes = { ...SHAPES, large: [70, 2 * TILE + 1] }
    const base = tensors(shapes, next)
    const deltas = [1, 2, 3, 4, 5, 6].map(() => tensors(shapes, next))
    const first = await merge(base, deltas, strategy, { threads: 1 })
    const essence = ({ out: _, state: __, files: ___, dots, ...rest }: Merged) => ({ ...rest, dots: dots?.of(0, 1) })
    const variants: Options[] = [
      { threads: 3, foreign: true },
      { threads: 2, shape: { elements: TILE, group: 2 } },
    ]
    for (const options of variants)
      expect(essence(await merge(base, deltas, strategy, options))).toEqual(essence(first))
  })

  test('takes denormals, signed zeros and huge values as they are', async () => {
    const values = [0, -0, 1e-45, -1e-45, 1.1754942e-38, -3e-39, 1, -1, 1e15, -1e15, 16777217]
    const next = generator(6)
    const pick = () => values[Math.floor(((next() + 1) / 2) * values.length)] ?? 0
    const deltas = [1, 2, 3, 4, 5].map(() => vector(...Array.from({ length: 300 }, pick)))
    const { out } = await merge(vector(...new Array(300).fill(0)), deltas, strategy, { threads: 1 })
    const optimise = optimiserOf(strategy) ?? ((delta) => ({ delta, state: NO_STATE }))
    const expected = applyStrategy({ combine, optimise }, contributionsOf(deltas)).delta
    const result = await flatFile(out)
    for (const [j, x] of expected.entries()) {
      const largest = Math.max(...deltas.map((delta) => Math.abs(flat(delta)[j] ?? 0)), 1e-30)
      expect(Math.abs((result[j] ?? Number.NaN) - x)).toBeLessThanOrEqual(1e-5 * largest)
    }
  })

  test('refuses NaN in any delta, and leaves nothing behind', async () => {
    for (const bad of [Number.NaN]) {
      const deltas = [1, 2, 3, 4, 5].map((n) => tensors(SHAPES, (i) => (n === 3 && i === 100 ? bad : n)))
      const before = (await readdir(files.dir)).filter((name) => name.startsWith('.'))
      const merging = merge(
        tensors(SHAPES, () => 0),
        deltas,
        strategy,
      )
      await expect(merging).rejects.toMatchObject({ code: 'DATA_INVALID' })
      expect((await readdir(files.dir)).filter((name) => name.startsWith('.'))).toEqual(before)
    }
  })
})

describe('robust strategies', () => {
  test.each([
    'median',
    'trimmed-mean:trim=2',
    'krum:byzantine=2',
    'multi-krum:byzantine=2,chosen=3',
    'geometric-median',
  ])('%s stays with the honest five of seven, however large the others', async (text) => {
    const honest = [
      [1, 2],
      [1.01, 2.02],
      [0.99, 1.98],
      [1.02, 2],
      [1, 2.01],
    ]
    for (const attack of [10, 1e30]) {
      for (const other of [-attack]) {
        const deltas = [...honest, [attack, -attack], [other, attack]].map((values) => vector(...values))
        const result = await flatFile((await merge(vector(0, 0), deltas, parseStrategyText(text))).out)
        expect(Math.abs(result[0]! - 1)).toBeLessThan(0.1)
        expect(Math.abs(result[1]! - 2)).toBeLessThan(0.1)
      }
    }
  })

  test('order statistics of more deltas than a worker holds at once', async () => {
    const next = generator(3)
    const shapes: Shapes = { w: [TILE + 37] }
    const deltas = Array.from({ length: 70 }, () => tensors(shapes, next))
    for (const [text, combine] of [
      ['median', median],
      ['trimmed-mean:trim=7', trimmedMean(0.1)],
    ] as const) {
      const { out } = await merge(
        tensors(shapes, () => 0),
        deltas,
        parseStrategyText(text),
      )
      expect(await flatFile(out)).toEqual(combine(contributionsOf(deltas)))
    }
  })
})

describe('what people are shown', () => {
  test('coefficients, dot products and what is retained of each delta', async () => {
    const deltas = [vector(3, 0), vector(0, 4), vector(0, 0)]
    const merged = await merge(vector(0, 0), deltas, parseStrategyText('mean'), { compare: true })
    expect(merged.coefficients).toEqual([1 / 3, 1 / 3, 1 / 3])
    const [first, second, none] = merged.retained
    expect(first).toBeCloseTo(1 / 3, 6)
    expect(second).toBeCloseTo(1 / 3, 6)
    expect(none).toBe(0)
    expect([merged.dots?.of(0, 0), merged.dots?.of(0, 1), merged.dots?.of(1, 1)]).toEqual([9, 0, 16])
    expect((await merge(vector(0, 0), deltas, parseStrategyText('median'))).coefficients).toBeUndefined()
  })
})

describe('refuses', () => {
  const request = async (text: string, count: number, change: Partial<RoundRequest> = {}): Promise<RoundRequest> => {
    const base = [await files.save(vector(0, 0))]
    const deltas = await Promise.all(
      Array.from({ length: count }, async (_, i) => ({ path: await files.save(vector(i, 1)), weight: 1 / count })),
    )
    return { base, deltas, out: files.fresh('out'), strategy: parseStrategyText(text), ...change }
  }

  test.each<[string, number]>([
    ['trimmed-mean:trim=1', 2],
    ['krum:byzantine=3', 3],
    ['multi-krum:byzantine=0,chosen=4', 3],
    ['mean', 0],
    ['fedavgm', 2],
    ['easgd:alpha=0.5', 3],
  ])('%s of %d', async (text, count) => {
    await expect(mergeRound(await request(text, count))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('a state that it does not keep, that is another model’s, or that was cut short', async () => {
    const optimizer = (before: string | undefined) => ({ optimizer: { before, out: files.fresh('state') } })
    const unasked = mergeRound(await request('mean', 2, optimizer(undefined)))
    await expect(unasked).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const good = optimizer(undefined)
    await mergeRound(await request('fedavgm', 2, good))
    await mergeRound(await request('diloco', 2, optimizer(good.optimizer.out)))
    const foreign = await files.save(vector(0, 0))
    for (const [text, before] of [
      ['fedavgm', foreign],
      ['fedadam', good.optimizer.out],
      ['fedavgm', join(files.dir, 'no')],
    ]) {
      const merging = mergeRound(await request(text ?? '', 2, optimizer(before)))
      await expect(merging).rejects.toMatchObject({ code: before?.endsWith('no') ? 'NOT_FOUND' : 'DATA_INVALID' })
    }
    await truncate(good.optimizer.out, 100)
    const cut = mergeRound(await request('fedavgm', 2, optimizer(good.optimizer.out)))
    await expect(cut).rejects.toMatchObject({ code: 'DATA_INVALID' })
  })

  test('an optimizer whose state would stay infinite', async () => {
    const huge = await request('fedadagrad', 1, { optimizer: { before: undefined, out: files.fresh('state') } })
    const deltas = [{ path: await files.save(vector(1e30, 0)), weight: 1 }]
    await expect(mergeRound({ ...huge, deltas })).rejects.toMatchObject({ code: 'DATA_INVALID' })
  })
})
