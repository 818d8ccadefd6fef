import { InferenceSession, Tensor } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { OPERATORS, OPSET_VERSION } from './onnx.ts'
import { isNorm, parameterSpecs } from './parameters.ts'
import { PRESETS } from './presets.ts'
import { randomFrom } from './random.ts'
import { scoreGraph } from './score-graph.ts'
import type { PlanSpec } from './spec.ts'
import { firstMoment, gradientGraph, gradientName, nextName, secondMoment, trainGraph } from './train-graph.ts'

const { tiny } = PRESETS
const spec: PlanSpec = {
  ...tiny,
  architecture: { ...tiny.architecture, hiddenSize: 8, intermediateSize: 6, layers: 1, heads: 2, kvHeads: 1 },
  training: { ...tiny.training, vocabulary: 'all', batchSize: 2, sequenceLength: 6 },
}

/** Fields of a protobuf message: number to its values, nested messages as bytes. */
function fieldsOf(bytes: Uint8Array): Map<number, (number | Uint8Array)[]> {
  const fields = new Map<number, (number | Uint8Array)[]>()
  let at = 0
  const varint = () => {
    let [value, factor] = [0, 1]
    for (; ; factor *= 128) {
      const byte = bytes[at++]!
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = varint()
    const value = (tag & 7) === 0 ? varint() : undefined
    const length = value === undefined ? varint() : 0
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value ?? bytes.subarray(at, at + length)])
    at += length
  }
  return fields
}

const messages = (fields: Map<number, (number | Uint8Array)[]>, field: number) =>
  (fields.get(field) ?? []).map((value) => fieldsOf(value as Uint8Array))
const text = (value: unknown) => new TextDecoder().decode(value as Uint8Array)

const tensor = (data: Float32Array, shape: readonly number[]) => new Tensor('float32', data, [...shape])

function randomFeeds(seed: string): Record<string, Tensor> {
  const random = randomFrom(seed)
  const tokens = () =>
    new Tensor(
      'int64',
      BigInt64Array.from({ length: 12 }, () => BigInt(random.below(259))),
      [2, 6],
    )
  const mask = tensor(Float32Array.of(1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0), [2, 6])
  const feeds: Record<string, Tensor> = { ids: tokens(), labels: tokens(), mask }
  for (const { name, shape } of parameterSpecs(spec)) {
    const size = shape.reduce((product, n) => product * n, 1)
    const values = (scale: number) => Float32Array.from({ length: size }, () => scale * random.normal())
    feeds[name] = tensor(values(0.4), shape)
    feeds[firstMoment(name)] = tensor(values(0.1), shape)
    feeds[secondMoment(name)] = tensor(
      values(0.1).map((value) => value * value),
      shape,
    )
  }
  return feeds
}

const scalars = { learningRate: 0.01, correction1: 0.271, correction2: 0.143 }
const schedule = Object.fromEntries(
  Object.entries(scalars).map(([name, value]) => [name, tensor(Float32Array.of(value), [])]),
)
const floats = (outputs: Record<string, { readonly data: unknown }>, name: string) =>
  outputs[name]!.data as Float32Array

describe('the graphs of a plan', () => {
  test.each([
    ['train', trainGraph],
    ['score', scoreGraph],
  ])('use allowed ai.onnx operators only, with no functions and no sub-graphs: %s', (_, build) => {
    const model = fieldsOf(build(spec))
    expect([...model.keys()].sort((a, b) => a - b)).toEqual([1, 2, 7, 8])
    expect(messages(model, 8)).toEqual([new Map([[2, [OPSET_VERSION]]])])
    const [graph] = messages(model, 7)
    const nodes = messages(graph!, 1)
    expect(nodes.length).toBeGreaterThan(50)
    for (const node of nodes) {
      expect(OPERATORS).toContain(text(node.get(4)?.[0]))
      expect(node.has(7), 'no domain of its own').toBe(false)
      for (const attribute of messages(node, 5)) {
        for (const field of attribute.keys()) expect([1, 3, 4, 8, 20]).toContain(field)
      }
    }
  })

  test('are built of the whole allow-list: it holds nothing idle', () => {
    const [graph] = messages(fieldsOf(trainGraph(spec)), 7)
    const used = new Set(messages(graph!, 1).map((node) => text(node.get(4)?.[0])))
    expect(OPERATORS.filter((operator) => !used.has(operator))).toEqual([])
  })

  test('are the same bytes each time', () => {
    expect(Buffer.from(trainGraph(spec)).equals(trainGraph(structuredClone(spec)))).toBe(true)
  })
})

describe('one training step', () => {
  test('is AdamW on the clipped gradient, as computed in double precision', async () => {
    const feeds = randomFeeds('adamw')
    const { ids, labels, mask } = feeds
    const parameters = Object.fromEntries(parameterSpecs(spec).map(({ name }) => [name, feeds[name]!]))
    const inputs = { ids: ids!, labels: labels!, mask: mask! }
    const checked = await (await InferenceSession.create(gradientGraph(spec))).run({ ...parameters, ...inputs })
    const stepped = await (await InferenceSession.create(trainGraph(spec))).run({ ...feeds, ...schedule })
    expect(floats(stepped, 'loss')).toEqual(floats(checked, 'loss'))

    const { beta1, beta2, epsilon, weightDecay, clipNorm } = spec.training.optimizer
    const all = parameterSpecs(spec).flatMap(({ name }) => [...floats(checked, gradientName(name))])
    const norm = Math.hypot(...all)
    expect(norm, 'the clip is at work').toBeGreaterThan(clipNorm)
    for (const parameter of parameterSpecs(spec)) {
      const { name } = parameter
      const next = floats(stepped, nextName(name))
      floats(checked, gradientName(name)).forEach((raw, index) => {
        const gradient = raw * Math.min(1, clipNorm / (norm + 1e-6))
        const old = (input: string) => floats(feeds, input)[index]!
        const first = beta1 * old(firstMoment(name)) + (1 - beta1) * gradient
        const second = beta2 * old(secondMoment(name)) + (1 - beta2) * gradient ** 2
        const step = first / scalars.correction1 / (Math.sqrt(second / scalars.correction2) + epsilon)
        const decay = isNorm(parameter) ? 0 : weightDecay * old(name)
        expect(next[index], name).toBeCloseTo(old(name) - scalars.learningRate * (step + decay), 5)
        expect(floats(stepped, nextName(firstMoment(name)))[index]).toBeCloseTo(first, 6)
        expect(floats(stepped, nextName(secondMoment(name)))[index]).toBeCloseTo(second, 6)
      })
    }
  })

  test('may write over its inputs', async () => {
    const session = await InferenceSession.create(trainGraph(spec), { intraOpNumThreads: 1 })
    const apart = await session.run({ ...randomFeeds('in place'), ...schedule })
    const feeds = randomFeeds('in place')
    const state = parameterSpecs(spec).flatMap(({ name }) => [name, firstMoment(name), secondMoment(name)])
    const fetches = Object.fromEntries(state.map((name) => [nextName(name), feeds[name]!]))
    const inPlace = await session.run({ ...feeds, ...schedule }, { loss: null, ...fetches })
    expect(floats(inPlace, 'loss')).toEqual(floats(apart, 'loss'))
    for (const name of state) expect(floats(feeds, name), name).toEqual(floats(apart, nextName(name)))
  })
})

describe('the score graph', () => {
  test('gives per sequence what the loss averages', async () => {
    const { ids, labels, mask, ...rest } = randomFeeds('score')
    const parameters = Object.fromEntries(parameterSpecs(spec).map(({ name }) => [name, rest[name]!]))
    const inputs = { ids: ids!, labels: labels!, mask: mask!, ...parameters }
    const scored = await (await InferenceSession.create(scoreGraph(spec))).run(inputs)
    const checked = await (await InferenceSession.create(gradientGraph(spec))).run(inputs)
    const [losses, counts] = [floats(scored, 'losses'), floats(scored, 'counts')]
    expect([...counts]).toEqual([5, 3])
    expect((losses[0]! + losses[1]!) / 8).toBeCloseTo(floats(checked, 'loss')[0]!, 5)
  })
})
