import fc from 'fast-check'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import type { LlamaArchitecture } from '../model/llama-config.ts'
import { parameterSpecs } from './parameters.ts'
import { PRESETS } from './presets.ts'
import { type Random, randomFrom } from './random.ts'
import type { PlanSpec } from './spec.ts'
import { gradientGraph, gradientName, LEFT_OUT } from './train-graph.ts'

// The reference: a Llama in double precision, written from the papers in plain loops over one
// sequence, sharing no code with the graph builder. Its finite differences are exact to about 1e-9.

type Parameters = Map<string, Float64Array>
type Batch = { readonly ids: number[][]; readonly labels: number[][]; readonly mask: number[][] }

const range = (length: number) => Array.from({ length }, (_, index) => index)
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)

function multiply(weight: Float64Array, x: readonly number[]): number[] {
  return range(weight.length / x.length).map((row) => x.reduce((sum, v, i) => sum + weight[row * x.length + i]! * v, 0))
}

function normalise(x: readonly number[], weight: Float64Array, epsilon: number): number[] {
  const rms = Math.sqrt(dot(x, x) / x.length + epsilon)
  return x.map((v, i) => (v / rms) * weight[i]!)
}

function turn(x: readonly number[], position: number, theta: number): number[] {
  const half = x.length / 2
  return x.map((v, i) => {
    const angle = position * theta ** ((-2 * (i % half)) / x.length)
    return v * Math.cos(angle) + (i < half ? -x[i + half]! : x[i - half]!) * Math.sin(angle)
  })
}

function attend(a: LlamaArchitecture, get: (name: string) => Float64Array, xs: readonly number[][]): number[][] {
  const size = a.hiddenSize / a.heads
  const head = (name: string, x: readonly number[], h: number) =>
    multiply(get(`self_attn.${name}_proj.weight`), x).slice(h * size, (h + 1) * size)
  const outputs = xs.map(() => [] as number[])
  for (const h of range(a.heads)) {
    const shared = Math.floor(h / (a.heads / a.kvHeads))
    const keys = xs.map((x, t) => turn(head('k', x, shared), t, a.ropeTheta))
    const values = xs.map((x) => head('v', x, shared))
    xs.forEach((x, t) => {
      const query = turn(head('q', x, h), t, a.ropeTheta)
      const weights = range(t + 1).map((s) => Math.exp(dot(query, keys[s]!) / Math.sqrt(size)))
      const sum = weights.reduce((p, w) => p + w, 0)
      outputs[t]!.push(...range(size).map((i) => weights.reduce((p, w, s) => p + (w / sum) * values[s]![i]!, 0)))
    })
  }
  return outputs.map((output) => multiply(get('self_attn.o_proj.weight'), output))
}

function referenceLogits(a: LlamaArchitecture, parameters: Parameters, ids: readonly number[]): number[][] {
  const get = (name: string) => parameters.get(name)!
  const table = get('model.embed_tokens.weight')
  let xs = ids.map((id) => Array.from(table.subarray(id * a.hiddenSize, (id + 1) * a.hiddenSize)))
  for (const layer of range(a.layers)) {
    const local = (name: string) => get(`model.layers.${layer}.${name}`)
    const before = xs.map((x) => normalise(x, local('input_layernorm.weight'), a.normEpsilon))
    const attended = attend(a, local, before)
    xs = xs.map((x, t) => x.map((v, i) => v + attended[t]![i]!))
    xs = xs.map((x) => {
      const y = normalise(x, local('post_attention_layernorm.weight'), a.normEpsilon)
      const up = multiply(local('mlp.up_proj.weight'), y)
      const gated = multiply(local('mlp.gate_proj.weight'), y).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!)
      const down = multiply(local('mlp.down_proj.weight'), gated)
      return x.map((v, i) => v + down[i]!)
    })
  }
  const head = a.tiedEmbeddings ? table : get('lm_head.weight')
  return xs.map((x) => multiply(head, normalise(x, get('model.norm.weight'), a.normEpsilon)))
}

function referenceLoss(spec: PlanSpec, parameters: Parameters, batch: Batch, seen: readonly boolean[] = []): number {
  let [sum, count] = [0, 0]
  batch.ids.forEach((ids, row) => {
    referenceLogits(spec.architecture, parameters, ids).forEach((logits, t) => {
      const label = batch.labels[row]![t]!
      const competes = (token: number) => seen[token] !== false || token === label
      const partition = Math.log(logits.reduce((p, x, i) => p + (competes(i) ? Math.exp(x) : 0), 0))
      sum += batch.mask[row]![t]! * (partition - logits[batch.labels[row]![t]!]!)
      count += batch.mask[row]![t]!
    })
  })
  return sum / Math.max(count, 1)
}

function tinySpec(architecture: Partial<LlamaArchitecture>, batchSize = 2, sequenceLength = 5): PlanSpec {
  const { tiny } = PRESETS
  const small = { hiddenSize: 8, intermediateSize: 6, layers: 1, heads: 2, kvHeads: 2 }
  return {
    ...tiny,
    // The builder does not fix the vocabulary, parsePlanSpec does: 11 keep the reference quick.
    architecture: { ...tiny.architecture, vocabSize: 11, ...small, ...architecture },
    training: { ...tiny.training, vocabulary: 'all', batchSize, sequenceLength },
  }
}

/** Weights far larger than the initial ones, so that every non-linearity bends. */
function randomParameters(spec: PlanSpec, random: Random): Parameters {
  return new Map(
    parameterSpecs(spec).map(({ name, shape }) => {
      const size = shape.reduce((product, n) => product * n, 1)
      const value = () => (shape.length === 1 ? 1 + 0.3 * random.normal() : 0.4 * random.normal())
      return [name, Float64Array.from({ length: size }, () => Math.fround(value()))]
    }),
  )
}

function randomBatch({ architecture, training }: PlanSpec, random: Random): Batch {
  const rows = (pick: () => number) =>
    range(training.batchSize).map(() => range(training.sequenceLength).map(() => pick()))
  const token = () => random.below(architecture.vocabSize)
  return { ids: rows(token), labels: rows(token), mask: rows(() => (random.below(4) === 0 ? 0 : 1)) }
}

async function graphGradients(spec: PlanSpec, parameters: Parameters, batch: Batch, seen: readonly boolean[] = []) {
  const session = await InferenceSession.create(gradientGraph(spec), { intraOpNumThreads: 1 })
  const shape = [spec.training.batchSize, spec.training.sequenceLength]
  const integers = (rows: number[][]) => new Tensor('int64', BigInt64Array.from(rows.flat().map(BigInt)), shape)
  const feeds: Record<string, Tensor> = {
    ids: integers(batch.ids),
    labels: integers(batch.labels),
    mask: new Tensor('float32', Float32Array.from(batch.mask.flat()), shape),
  }
  if (spec.training.vocabulary !== 'all') {
    const bias = Float32Array.from(seen, (one) => (one ? 0 : LEFT_OUT))
    feeds['vocabulary'] = new Tensor('float32', bias, [1, bias.length])
  }
  for (const { name, shape: dims } of parameterSpecs(spec))
    feeds[name] = new Tensor('float32', Float32Array.from(parameters.get(name)!), [...dims])
  const outputs = await session.run(feeds)
  const data = (name: string) => outputs[name]!.data as Float32Array
  return { loss: data('loss')[0]!, gradient: (name: string) => data(gradientName(name)) }
}

/** Central difference of the reference by one element. */
function slope(loss: () => number, tensor: Float64Array, index: number): number {
  const [step, kept] = [1e-5, tensor[index]!]
  tensor[index] = kept + step
  const above = loss()
  tensor[index] = kept - step
  const below = loss()
  tensor[index] = kept
  return (above - below) / (2 * step)
}

describe('gradients', () => {
  test.each([
    ['tied', { tiedEmbeddings: true }],
    ['untied', { tiedEmbeddings: false }],
    ['grouped-query', { tiedEmbeddings: false, heads: 4, kvHeads: 2, layers: 2 }],
  ])('of every element agree with finite differences of an independent model: %s', async (_, architecture) => {
    const random = randomFrom('gradients')
    const spec = tinySpec(architecture)
    const [parameters, batch] = [randomParameters(spec, random), randomBatch(spec, random)]
    const graph = await graphGradients(spec, parameters, batch)
    expect(graph.loss).toBeCloseTo(referenceLoss(spec, parameters, batch), 5)
    for (const [name, tensor] of parameters) {
      const found = graph.gradient(name)
      const loss = () => referenceLoss(spec, parameters, batch)
      const expected = Array.from(tensor, (_value, index) => slope(loss, tensor, index))
      const worst = Math.max(...expected.map((value, index) => Math.abs(value - found[index]!)))
      expect(worst, name).toBeLessThan(2e-6)
      expect(Math.hypot(...expected), `${name} has a gradient to compare`).toBeGreaterThan(1e-3)
    }
  })

  test('agree for random shapes, in a random element of every tensor', async () => {
    const shapes = fc.record({
      pairs: fc.integer({ min: 1, max: 3 }),
      kvHeads: fc.integer({ min: 1, max: 2 }),
      group: fc.integer({ min: 1, max: 3 }),
      intermediateSize: fc.integer({ min: 1, max: 9 }),
      layers: fc.integer({ min: 1, max: 2 }),
      tiedEmbeddings: fc.boolean(),
      batchSize: fc.integer({ min: 1, max: 3 }),
      sequenceLength: fc.integer({ min: 1, max: 7 }),
      seed: fc.nat(),
    })
    const property = fc.asyncProperty(shapes, async ({ pairs, kvHeads, group, batchSize, sequenceLength, ...rest }) => {
      const { intermediateSize, layers, tiedEmbeddings, seed } = rest
      const heads = kvHeads * group
      const architecture = { hiddenSize: 2 * pairs * heads, heads, kvHeads, intermediateSize, layers, tiedEmbeddings }
      const random = randomFrom(`shapes ${seed}`)
      const spec = tinySpec(architecture, batchSize, sequenceLength)
      const [parameters, batch] = [randomParameters(spec, random), randomBatch(spec, random)]
      const graph = await graphGradients(spec, parameters, batch)
      for (const [name, tensor] of parameters) {
        const index = random.below(tensor.length)
        const expected = slope(() => referenceLoss(spec, parameters, batch), tensor, index)
        expect(Math.abs(expected - graph.gradient(name)[index]!), name).toBeLessThan(1e-5 * (1 + Math.abs(expected)))
      }
    })
    await fc.assert(property, { numRuns: 25, seed: 7 })
  })

  test('leave rare tokens alone except where they are the label', async () => {
    const random = randomFrom('rare')
    const all = tinySpec({ tiedEmbeddings: false })
    const spec: PlanSpec = { ...all, training: { ...all.training, vocabulary: { minShare: 0.001 } } }
    const seen = range(11).map((token) => token % 3 !== 0)
    const [parameters, drawn] = [randomParameters(spec, random), randomBatch(spec, random)]
    // Of the rare tokens 0, 3, 6 and 9 only 3 is ever a label.
    const common = (label: number) => (label % 3 === 0 ? label + 1 : label)
    const labels = drawn.labels.map((row, at) => row.map((label, t) => (at + t === 0 ? 3 : common(label))))
    const batch = { ...drawn, labels, mask: drawn.mask.map((row) => row.map(() => 1)) }
    const graph = await graphGradients(spec, parameters, batch, seen)
    const loss = () => referenceLoss(spec, parameters, batch, seen)
    expect(graph.loss).toBeCloseTo(loss(), 5)
    for (const [name, tensor] of parameters) {
      const found = graph.gradient(name)
      const worst = Math.max(...Array.from(tensor, (_, i) => Math.abs(slope(loss, tensor, i) - found[i]!)))
      expect(worst, name).toBeLessThan(2e-6)
    }
    const head = graph.gradient('lm_head.weight')
    for (const token of range(11)) {
      const moved = head.subarray(token * 8, (token + 1) * 8).some((value) => value !== 0)
      expect(moved, `token ${token}`).toBe(token === 3 || seen[token])
    }
  })

  test('are zero, not NaN, when the mask counts nothing', async () => {
    const random = randomFrom('empty')
    const spec = tinySpec({})
    const batch = { ...randomBatch(spec, random), mask: range(2).map(() => range(5).map(() => 0)) }
    const graph = await graphGradients(spec, randomParameters(spec, random), batch)
    expect(graph.loss).toBe(0)
    for (const { name } of parameterSpecs(spec)) expect(graph.gradient(name).every((x) => x === 0)).toBe(true)
  })
})
