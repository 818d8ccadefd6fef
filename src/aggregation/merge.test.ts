import { createHash } from 'node:crypto'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Floats, generator, mergedBytes, type Shapes, TensorFiles, tensors } from '../../test/tensor-files.ts'
import { readSafetensors, type TensorData, writeSafetensors } from '../model/safetensors.ts'
import { TILE } from './block-layout.ts'
import { mergeMean } from './merge.ts'

let files: TensorFiles
let dir: string

beforeAll(async () => {
  files = await TensorFiles.create()
  dir = files.dir
})
afterAll(() => files.remove())

const fresh = (name: string) => files.fresh(name)
const save = (data: readonly TensorData[]) => files.save(data)

const SHAPES: Shapes = { 'b.weight': [3, 700], a: [TILE + 5], empty: [0, 4], scalar: [], z: [2 * TILE] }

async function model(seed: number, shapes = SHAPES): Promise<{ path: string; data: Floats[] }> {
  const data = tensors(shapes, generator(seed))
  return { path: await save(data), data }
}

async function digest(path: string): Promise<string> {
  return sha256(await readFile(path))
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

describe('mergeMean', () => {
  test('writes exactly the arithmetic of its docstring', async () => {
    const base = await model(1)
    const deltas = await Promise.all([2, 3, 4].map((seed) => model(seed)))
    const weights = [0.5, 0.2, 0.3]
    const out = fresh('out')
    const result = await mergeMean({
      base: [base.path],
      deltas: deltas.map(({ path }, i) => ({ path, weight: weights[i]! })),
      out,
    })
    const bytes = await readFile(out)
    expect(
      bytes.equals(
        mergedBytes(
          base.data,
          deltas.map(({ data }) => data),
          weights,
        ),
      ),
    ).toBe(true)
    expect(result.files.map(({ path }) => path)).toEqual([out])
  })

  test('norms and cosines are those of the vectors', async () => {
    const base = await save([{ name: 'w', dtype: 'F32', shape: [2], data: Float32Array.of(10, 20) }])
    const first = await save([{ name: 'w', dtype: 'F32', shape: [2], data: Float32Array.of(6, 0) }])
    const second = await save([{ name: 'w', dtype: 'F32', shape: [2], data: Float32Array.of(0, 8) }])
    const zero = await save([{ name: 'w', dtype: 'F32', shape: [2], data: new Float32Array(2) }])
    const out = fresh('out')
    const deltas = [
      { path: first, weight: 0.5 },
      { path: second, weight: 0.5 },
      { path: zero, weight: 0 },
    ]
    const result = await mergeMean({ base: [base], deltas, out })
    expect(result).toEqual({
      deltaNorm: 5,
      norms: [6, 8, 0],
      cosines: [0.6, 0.8, 0],
      retained: [0.5, 0.5, 0],
      files: result.files,
    })
    expect((await readSafetensors(out)).get('w')?.data).toEqual(Float32Array.of(13, 24))
  })

  test('the sample-weighted mean that every federation agrees on', async () => {
    const values = (data: number[]): TensorData[] => [
      { name: 'w', dtype: 'F32', shape: [2, 3], data: Float32Array.from(data) },
    ]
    const base = await save(values([0, 0, 0, 0, 0, 0]))
    const out = fresh('out')
    const deltas = [
      { path: await save(values([1, 2, 3, 4, 5, 6])), weight: 1 / 3 },
      { path: await save(values([29, 23, 19, 17, 13, 11])), weight: 2 / 3 },
    ]
    await mergeMean({ base: [base], deltas, out })
    const merged = (await readSafetensors(out)).get('w')?.data
    expect(merged).toEqual(Float32Array.of(59 / 3, 16, 41 / 3, 38 / 3, 31 / 3, 28 / 3))
  })

  test('bytes and statistics depend neither on threads nor on the order of tensors in a file', async () => {
    const shapes: Shapes = { ...SHAPES, large: [70, 2 * TILE + 1] }
    const base = await model(11, shapes)
    const sources = await Promise.all([12, 13, 14].map((seed) => model(seed, shapes)))
    const canonical = sources.map(({ path }) => path)
    const foreign = await Promise.all(sources.map(({ data }) => files.saveInOrder([...data].reverse())))
    const weights = [0.5, 0.2, 0.3]
    const run = async (paths: readonly string[], threads: number) => {
      const out = fresh('out')
      const deltas = paths.map((path, i) => ({ path, weight: weights[i]! }))
      const result = await mergeMean({ base: [base.path], deltas, out, threads })
      return { ...result, files: [await digest(out)] }
    }
    const one = await run(canonical, 1)
    const data = sources.map((source) => source.data)
    expect(one.files[0]).toBe(sha256(mergedBytes(base.data, data, weights)))
    expect(await run(foreign, 2)).toEqual(one)
    expect(await run(canonical, 3)).toEqual(one)
  })

  test('more deltas than are kept open at once', async () => {
    const one = (value: number): TensorData[] => [{ name: 'w', dtype: 'F32', shape: [1], data: Float32Array.of(value) }]
    const base = await save(one(0))
    const path = await save(one(1))
    const deltas = Array.from({ length: 300 }, () => ({ path, weight: 1 / 300 }))
    const out = fresh('out')
    const { norms } = await mergeMean({ base: [base], deltas, out, threads: 1 })
    expect(norms).toEqual(new Array(300).fill(1))
    expect((await readSafetensors(out)).get('w')?.data[0]).toBeCloseTo(1, 6)
  })

  test('keeps the metadata of the base, and reports progress up to the end', async () => {
    const base = fresh('base')
    await writeSafetensors(base, tensors(SHAPES, generator(1)), { format: 'pt' })
    const { path } = await model(2)
    const out = fresh('out')
    const seen: [number, number][] = []
    await mergeMean({
      base: [base],
      deltas: [{ path, weight: 1 }],
      out,
      onProgress: (done, total) => seen.push([done, total]),
    })
    const total = (2100 + TILE + 5 + 1 + 2 * TILE) * 4
    expect(seen.at(-1)).toEqual([total, total])
    expect((await readFile(out)).toString('latin1')).toContain('"__metadata__":{"format":"pt"}')
  })

  test('a model without elements', async () => {
    const { path } = await model(1, { none: [0] })
    const result = await mergeMean({ base: [path], deltas: [{ path, weight: 1 }], out: fresh('out') })
    expect(result).toMatchObject({ deltaNorm: 0, norms: [0], cosines: [0] })
  })
})

describe('mergeMean refuses', () => {
  const refused = async (code: string, deltas: { path: string; weight: number }[], base?: string) => {
    const from = base ?? (await model(1)).path
    const before = await readdir(dir)
    await expect(mergeMean({ base: [from], deltas, out: join(dir, 'refused') })).rejects.toMatchObject({ code })
    expect(await readdir(dir)).toEqual(before)
  }

  test.each([[[Number.NaN]], [[-0.5, 1.5]], [[Number.POSITIVE_INFINITY]], [[0]], [[0.5, 0.4]], [[1e300]], [[]]])(
    'the weights %j',
    async (weights) => {
      const { path } = await model(2)
      await refused(
        'INVALID_ARGUMENT',
        weights.map((weight) => ({ path, weight })),
      )
    },
  )

  test.each([0, -1, 1.5, 1e9, Number.NaN])('%d threads', async (threads) => {
    const { path } = await model(2)
    const request = { base: [path], deltas: [{ path, weight: 1 }], out: fresh('out'), threads }
    await expect(mergeMean(request)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('a delta or a base that is not there', async () => {
    await refused('NOT_FOUND', [{ path: join(dir, 'absent'), weight: 1 }])
    const { path } = await model(2)
    await refused('NOT_FOUND', [{ path, weight: 1 }], join(dir, 'absent'))
  })

  test('other tensors, shapes and element types', async () => {
    const { z: _, ...fewer } = SHAPES
    await refused('DATA_INVALID', [{ path: (await model(3, fewer)).path, weight: 1 }])
    await refused('DATA_INVALID', [{ path: (await model(3, { ...SHAPES, more: [1] })).path, weight: 1 }])
    await refused('DATA_INVALID', [{ path: (await model(3, { ...SHAPES, z: [TILE, 2] })).path, weight: 1 }])
    const half = await save([{ name: 'w', dtype: 'F16', shape: [2], data: new Uint8Array(4) }])
    await refused('DATA_INVALID', [{ path: half, weight: 1 }], half)
  })

  test('a truncated delta, and one that is no safetensors file', async () => {
    const { path } = await model(4)
    await truncate(path, 9000)
    await refused('DATA_INVALID', [{ path, weight: 1 }])
    await refused('DATA_INVALID', [{ path: dir, weight: 1 }])
    const text = fresh('text')
    await writeFile(text, 'not a model at all')
    await refused('DATA_INVALID', [{ path: text, weight: 1 }])
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'a delta with %d in it',
    async (value) => {
      const path = await save(tensors(SHAPES, (i) => (i === 1234 ? value : 0)))
      await refused('DATA_INVALID', [{ path, weight: 1 }])
      await refused('DATA_INVALID', [
        { path, weight: 0 },
        { path: (await model(1)).path, weight: 1 },
      ])
    },
  )

  test('a sum beyond the largest float', async () => {
    const path = await save(tensors(SHAPES, () => 3e38))
    await refused('DATA_INVALID', [{ path, weight: 1 }], path)
  })

  test('to go on after its signal, leaving nothing behind', async () => {
    const { path } = await model(1)
    const before = await readdir(dir)
    const stop = new AbortController()
    const merge = mergeMean({
      base: [path],
      deltas: [{ path, weight: 1 }],
      out: join(dir, 'refused'),
      signal: stop.signal,
      onProgress: () => stop.abort(new Error('lease lost')),
      threads: 1,
    })
    await expect(merge).rejects.toThrow('lease lost')
    expect(await readdir(dir)).toEqual(before)
  })

  test('a progress callback that throws', async () => {
    const { path } = await model(1)
    const onProgress = () => {
      throw new Error('the caller broke')
    }
    const merge = mergeMean({ base: [path], deltas: [{ path, weight: 1 }], out: fresh('out'), onProgress })
    await expect(merge).rejects.toThrow('the caller broke')
  })
})
