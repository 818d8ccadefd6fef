import { appendFile, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ARCHITECTURE, randomLlama, writeCheckpoint } from '../../../test/interop/checkpoint.ts'
import { makeFederation, type TestFederation } from '../../../test/interop/federation.ts'
import { digestOf } from '../../core/digest.ts'
import { parseMergingText } from '../../core/model-merging.ts'
import { readSafetensors, type TensorData } from '../../model/safetensors.ts'
import { type CheckpointMerge, mergeCheckpoints } from './merge-checkpoints.ts'

let root: string
let federation: TestFederation
const at = (name: string) => join(root, name)

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'merge-checkpoints-'))
  federation = await makeFederation()
  for (const [name, seed] of [
    ['base', 1],
    ['one', 2],
    ['two', 3],
  ] as const) {
    await writeCheckpoint(at(name), federation, randomLlama(ARCHITECTURE, seed))
  }
})
afterAll(() => rm(root, { recursive: true }))

async function digestedFile(path: string) {
  const bytes = await readFile(path)
  return { digest: digestOf(bytes), size: bytes.byteLength }
}

const merge = (text: string, out: string, change: Partial<CheckpointMerge> = {}) =>
  mergeCheckpoints({
    base: at('base'),
    models: [at('one'), at('two')],
    merging: parseMergingText(text),
    trust: { federation: federation.record.id },
    out: at(out),
    digestOf: digestedFile,
    ...change,
  })

describe('mergeCheckpoints', () => {
  test('makes a model that loads like a checkpoint, says what it is, and is made again byte for byte', async () => {
    const { record, digest } = await merge('ties:density=0.5', 'merged')
    const listed = record.files.map(({ path }) => path)
    expect((await readdir(at('merged'))).sort()).toEqual([...listed, 'merge.json'].sort())
    expect(listed).toEqual(expect.arrayContaining(['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']))
    for (const { path, digest: stated, size } of record.files) {
      expect(await digestedFile(join(at('merged'), path))).toEqual({ digest: stated, size })
    }
    expect(await digestedFile(join(at('merged'), 'merge.json'))).toMatchObject({ digest })
    const card = await readFile(join(at('merged'), 'README.md'), 'utf8')
    expect(card).toContain('not signed')
    expect(card).toContain('license: "apache-2.0"')
    for (const { digest: source } of [record.base, ...record.models]) expect(card).toContain(source)

    const [before, after] = await Promise.all(['base', 'merged'].map((name) => weights(name)))
    expect([...after!.keys()].sort()).toEqual([...before!.keys()].sort())
    expect([...after!].some(([name, { data }]) => data.some((x, j) => x !== before!.get(name)?.data[j]))).toBe(true)

    const swapped = await merge('ties:density=0.5', 'again', { models: [at('two'), at('one')], threads: 1 })
    expect(swapped.digest).toBe(digest)
  })

  test('goes along the arc from the first model to the second', async () => {
    await merge('slerp:t=0', 'start')
    const [one, start] = await Promise.all(['one', 'start'].map((name) => weights(name)))
    for (const [name, { data }] of start!) {
      expect(data.every((x, j) => Math.abs(x - one!.get(name)!.data[j]!) < 1e-6)).toBe(true)
    }
    const there = await merge('slerp:t=0.25', 'there')
    const back = await merge('slerp:t=0.25', 'back', { models: [at('two'), at('one')] })
    expect(back.digest).not.toBe(there.digest)
  })

  const weights = (name: string) => readSafetensors(join(at(name), 'model.safetensors'))
})

describe('refuses, and leaves nothing behind', () => {
  const refused = async (code: string, text: string, change: Partial<CheckpointMerge>) => {
    const before = await readdir(root)
    await expect(merge(text, 'never', change)).rejects.toMatchObject({ code })
    expect(await readdir(root)).toEqual(before)
  }

  test('a place that is taken, a place that does not exist', async () => {
    await mkdir(at('taken'))
    await refused('ALREADY_EXISTS', 'ties', { out: at('taken') })
    await refused('NOT_FOUND', 'ties', { out: join(at('nowhere'), 'deeper') })
  })

  test('a model twice, the base as a model, too many for an arc', async () => {
    await refused('INVALID_ARGUMENT', 'ties', { models: [at('one'), at('one')] })
    await refused('INVALID_ARGUMENT', 'ties', { models: [at('one'), at('base')] })
    await refused('INVALID_ARGUMENT', 'slerp', { models: [at('one')] })
  })

  test('a checkpoint of others, one that was changed, one that is none', async () => {
    const other = await makeFederation({ name: 'Other federation' })
    await writeCheckpoint(at('foreign'), other, randomLlama(ARCHITECTURE, 4))
    await refused('WRONG_FEDERATION', 'ties', { models: [at('one'), at('foreign')] })
    await writeCheckpoint(at('changed'), federation, randomLlama(ARCHITECTURE, 5))
    await appendFile(join(at('changed'), 'model.safetensors'), 'x')
    await refused('VERIFICATION_FAILED', 'ties', { models: [at('changed')] })
    await refused('VERIFICATION_FAILED', 'ties', { models: [at('taken')] })
  })

  test('a model of another shape, and one with values that are not finite', async () => {
    const narrow = { ...ARCHITECTURE, layers: 1 }
    await writeCheckpoint(at('narrow'), federation, randomLlama(narrow, 1), narrow)
    await refused('INVALID_ARGUMENT', 'ties', { models: [at('narrow')] })
    const broken = randomLlama(ARCHITECTURE, 6).map((tensor): TensorData => {
      return { ...tensor, data: new Float32Array(tensor.data.length).fill(Number.NaN) }
    })
    await writeCheckpoint(at('broken'), federation, broken)
    await refused('DATA_INVALID', 'dare:seed=1', { models: [at('broken')] })
  })
})
