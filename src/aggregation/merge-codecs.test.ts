import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Floats, generator, type Shapes, TensorFiles, tensors } from '../../test/tensor-files.ts'
import { type Codec, F32, parseCodecText } from '../core/codec.ts'
import { parseStrategyText, type Strategy } from '../core/strategy.ts'
import { writeSafetensors } from '../model/safetensors.ts'
import { encodeTensor } from '../model/update-codec/encode-tensor.ts'
import { encodedMetadata, encodedSpecs } from '../model/update-codec/encoded-layout.ts'
import { type BlockShape, TILE } from './block-layout.ts'
import { layoutOf, readDeltaLayout, readFloatHeader } from './merge-layout.ts'
import { keepsState, mergeRound } from './merge-round.ts'
import { TensorReader } from './tensor-reader.ts'

let files: TensorFiles
beforeAll(async () => {
  files = await TensorFiles.create()
})
afterAll(() => files.remove())

/** Tensors that begin anywhere in a tile, one of more than a chunk, one of more entries than are read at once. */
const SHAPES: Shapes = { a: [TILE + 5], 'b.weight': [3, 700], empty: [0, 4], scalar: [], z: [70_001] }
const CODECS = ['bf16', 'int8:block=32', 'int8:block=4096', 'topk:fraction=0.002', 'topk:fraction=0.3'].map(
  parseCodecText,
)
/** By columns, and folded through an optimizer: the two ways in which a merge reads. */
const STRATEGIES = ['median', 'fedadam']
const MERGED = ['bf16', 'int8:block=32', 'topk:fraction=0.3'].map(parseCodecText)

type Update = { readonly encoded: string; readonly decoded: string }

/** The same update as the wire has it and as F32. */
async function update(codec: Codec, data: readonly Floats[]): Promise<Update> {
  const tensorsOf = data.map((tensor) => ({ tensor, ...encodeTensor(codec, tensor.name, tensor.data) }))
  const parts = new Map(tensorsOf.flatMap(({ parts }) => parts))
  const specs = encodedSpecs(codec, data)
  const encoded = files.fresh('encoded')
  const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    new Uint8Array(buffer, byteOffset, byteLength)
  await writeSafetensors(
    encoded,
    specs.map((spec) => ({ ...spec, data: bytesOf(parts.get(spec.name)!) })),
    encodedMetadata(codec),
  )
  const decoded = await files.save(tensorsOf.map(({ tensor, decode }) => ({ ...tensor, data: decode() })))
  return { encoded, decoded }
}

async function merge(base: string, paths: readonly string[], codec: Codec, strategy: Strategy, how: How = {}) {
  const out = files.fresh('out')
  const state = files.fresh('state')
  const optimizer = keepsState(strategy) ? { before: undefined, out: state } : undefined
  const deltas = paths.map((path) => ({ path, weight: 1 / paths.length }))
  const {
    files: _,
    dots,
    ...rest
  } = await mergeRound({ base: [base], deltas, out, strategy, codec, optimizer, ...how })
  const cosine = dots?.of(0, 1)
  return { rest, cosine, files: await Promise.all([out, ...(optimizer ? [state] : [])].map((path) => readFile(path))) }
}

type How = { readonly threads?: number; readonly shape?: BlockShape }

describe.each(MERGED)('a merge of $name $parameters', (codec) => {
  it.each(STRATEGIES)('is that of the decoded updates: %s', async (text) => {
    const base = await files.save(tensors(SHAPES, generator(1)))
    const updates = await Promise.all([2, 3, 4, 5, 6].map((seed) => update(codec, tensors(SHAPES, generator(seed)))))
    const strategy = parseStrategyText(text)
    const paths = updates.map(({ decoded }) => decoded)
    const plain = await merge(base, paths, F32, strategy, { threads: 1 })
    // Small blocks, and more deltas than are held at once: every stretch is read twice.
    const shape = { elements: 2 * TILE, group: 2 }
    const encoded = updates.map((one) => one.encoded)
    expect(await merge(base, encoded, codec, strategy, { threads: 1, shape })).toEqual(plain)
  })
})

describe('TensorReader', () => {
  it.each(CODECS)('reads any stretch in any order: $name $parameters', async (codec) => {
    const data = tensors(SHAPES, generator(7))
    const header = await readFloatHeader(await files.save(data))
    const { encoded, decoded } = await update(codec, data)
    const layouts = [await readDeltaLayout(encoded, header, codec), layoutOf(decoded, await readFloatHeader(decoded))]
    const reader = new TensorReader(layouts)
    const elements = TILE + 5 + 2100 + 1 + 70_001
    const stretch = fc.tuple(fc.nat({ max: elements - 1 }), fc.integer({ min: 1, max: 40_000 }))
    fc.assert(
      fc.property(fc.array(stretch, { minLength: 1, maxLength: 4 }), (stretches) => {
        for (const [first, length] of stretches) {
          const [found, wanted] = [0, 1].map((file) => {
            const values = new Float32Array(Math.min(length, elements - first))
            reader.read(file, first, new Uint8Array(values.buffer))
            return Buffer.from(values.buffer)
          })
          expect(found?.equals(wanted ?? Buffer.alloc(0))).toBe(true)
        }
      }),
      { seed: 8, numRuns: 60 },
    )
    reader.close()
  })
})

describe('what is no such update', () => {
  const invalid = expect.objectContaining({ code: 'DATA_INVALID' })
  const topk = parseCodecText('topk:fraction=0.3')
  const mean = parseStrategyText('mean')

  it('another codec, and files without one', async () => {
    const data = tensors(SHAPES, generator(1))
    const base = await files.save(data)
    const { encoded, decoded } = await update(topk, data)
    await expect(merge(base, [encoded], F32, mean)).rejects.toEqual(invalid)
    await expect(merge(base, [decoded], topk, mean)).rejects.toEqual(invalid)
    await expect(merge(base, [encoded], parseCodecText('topk:fraction=0.2'), mean)).rejects.toEqual(invalid)
  })

  it('indices that do not ascend', async () => {
    const model: Floats[] = tensors({ w: [100] }, () => 1)
    const base = await files.save(model)
    const path = files.fresh('hostile')
    const indices = Uint32Array.from({ length: 30 }, (_, j) => (j === 20 ? 3 : j))
    const data = [new Uint8Array(indices.buffer), new Float32Array(30)]
    const specs = encodedSpecs(topk, model)
    await writeSafetensors(
      path,
      specs.map((spec, i) => ({ ...spec, data: data[i]! })),
      encodedMetadata(topk),
    )
    await expect(merge(base, [path], topk, mean)).rejects.toEqual(invalid)
  })
})
