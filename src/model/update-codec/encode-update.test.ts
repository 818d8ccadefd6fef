import { readdir, readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inspectDelta } from '../../../test/inspect-delta.ts'
import { type Floats, generator, type Shapes, TensorFiles, tensors } from '../../../test/tensor-files.ts'
import { parseCodecText } from '../../core/codec.ts'
import { readSafetensors } from '../safetensors.ts'
import { encodeTensor } from './encode-tensor.ts'
import { encodeUpdate } from './encode-update.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

const SHAPES: Shapes = { b: [3, 700], a: [2053], empty: [0, 4], scalar: [], z: [4096] }
const invalid = expect.objectContaining({ code: 'DATA_INVALID' })

async function update(seed: number): Promise<{ path: string; data: Floats[] }> {
  const data = tensors(SHAPES, generator(seed))
  return { path: await files.save(data), data }
}

describe.each(['bf16', 'int8:block=64', 'topk:fraction=0.01'])('%s', (text) => {
  const codec = parseCodecText(text)

  it('writes what an inspection accepts, with the norm of what it decodes to', async () => {
    const { path, data: model } = await update(1)
    const out = files.fresh('encoded')
    await encodeUpdate({ codec, model, update: path, out })
    let sum = 0
    for (const { name, data } of model) {
      for (const value of encodeTensor(codec, name, data).decode()) sum += value * value
    }
    const verdict = await inspectDelta(out, model, { maxNorm: 0 }, codec)
    if (!verdict.ok) throw new Error(verdict.rejection.detail)
    expect(verdict.value.norm).toBeCloseTo(Math.sqrt(sum), 10)
    expect(verdict.value.bytes).toBe((await readFile(out)).byteLength)
    expect((await inspectDelta(out, model, { maxNorm: 1e-9 }, codec)).ok).toBe(false)
  })

  it('sends everything in the end: what is sent and what is left add up to what was trained', async () => {
    const { data: model } = await update(1)
    const total = new Map(model.map(({ name, data }) => [name, new Float64Array(data.length)]))
    const add = (name: string, data: Float32Array, sign: number) => {
      const sum = total.get(name)!
      for (const [j, value] of data.entries()) sum[j]! += sign * value
    }
    let residual: string | undefined
    for (const seed of [2, 3, 4, 5]) {
      const { path, data } = await update(seed)
      for (const tensor of data) add(tensor.name, tensor.data, 1)
      const left = residual === undefined ? undefined : await readSafetensors(residual)
      for (const { name, data: values } of data) {
        const corrected = values.map((value, j) => value + (left?.get(name)?.data[j] ?? 0))
        add(name, encodeTensor(codec, name, corrected).decode(), -1)
      }
      const outResidual = files.fresh('residual')
      await encodeUpdate({ codec, model, update: path, residual, out: files.fresh('encoded'), outResidual })
      residual = outResidual
    }
    for (const [name, { data }] of await readSafetensors(residual!)) add(name, data, -1)
    const worst = Math.max(...[...total.values()].flatMap((sum) => [...sum].map(Math.abs)))
    expect(worst).toBeLessThan(1e-5)
  })

  it('writes the same bytes again', async () => {
    const { path, data: model } = await update(1)
    const residual = (await update(2)).path
    const write = async () => {
      const [out, outResidual] = [files.fresh('encoded'), files.fresh('residual')]
      await encodeUpdate({ codec, model, update: path, residual, out, outResidual })
      return [await readFile(out), await readFile(outResidual)]
    }
    expect(await write()).toEqual(await write())
  })

  it('refuses what is no update of this model, and leaves nothing behind', async () => {
    const { data: model } = await update(1)
    const bad = tensors(SHAPES, () => Number.NaN)
    const other = tensors({ ...SHAPES, z: [4095] }, () => 1)
    const text = files.fresh('text')
    await writeFile(text, 'delta')
    const before = await readdir(files.dir)
    for (const path of [await files.save(bad), await files.save(other), text]) {
      before.push(path.slice(files.dir.length + 1))
      await expect(encodeUpdate({ codec, model, update: path, out: files.fresh('encoded') })).rejects.toEqual(invalid)
    }
    expect((await readdir(files.dir)).sort()).toEqual([...new Set(before)].sort())
  })
})
