import { InferenceSession, Tensor } from 'onnxruntime-node'
import { expect, test } from 'vitest'
import { parameterSpecs } from './parameters.ts'
import { makePlan, parsePlan, planBytes, verifyPlan } from './plan.ts'
import { PRESETS } from './presets.ts'
import { randomFrom } from './random.ts'
import { type PlanSpec, parsePlanSpec } from './spec.ts'
import { baseName, gradientGraph, gradientName, trainGraph } from './train-graph.ts'

const { tiny } = PRESETS
const without: PlanSpec = {
  ...tiny,
  architecture: { ...tiny.architecture, hiddenSize: 8, intermediateSize: 6, layers: 1, heads: 2, kvHeads: 1 },
  training: { ...tiny.training, vocabulary: 'all', batchSize: 2, sequenceLength: 6 },
}
const withMu = (mu: number): PlanSpec => ({ ...without, training: { ...without.training, proximal: { mu } } })

type Point = { readonly weights: Map<string, Float32Array>; readonly base: Map<string, Float32Array> }

function point(): Point {
  const random = randomFrom('proximal')
  const draw = () =>
    new Map(
      parameterSpecs(without).map(({ name, shape }) => {
        const size = shape.reduce((product, n) => product * n, 1)
        return [name, Float32Array.from({ length: size }, () => 0.4 * random.normal())] as const
      }),
    )
  return { weights: draw(), base: draw() }
}

async function gradientsOf(spec: PlanSpec, { weights, base }: Point) {
  const random = randomFrom('tokens')
  const tokens = () => BigInt64Array.from({ length: 12 }, () => BigInt(random.below(259)))
  const feeds: Record<string, Tensor> = {
    ids: new Tensor('int64', tokens(), [2, 6]),
    labels: new Tensor('int64', tokens(), [2, 6]),
    mask: new Tensor('float32', new Float32Array(12).fill(1), [2, 6]),
  }
  for (const { name, shape } of parameterSpecs(spec)) {
    feeds[name] = new Tensor('float32', weights.get(name)!, [...shape])
    if (spec.training.proximal) feeds[baseName(name)] = new Tensor('float32', base.get(name)!, [...shape])
  }
  return (await InferenceSession.create(gradientGraph(spec))).run(feeds)
}

test('the proximal term adds mu times the distance to the base to every gradient, and nothing to the loss', async () => {
  const at = point()
  const mu = 0.7
  const plain = await gradientsOf(without, at)
  const held = await gradientsOf(withMu(mu), at)
  expect(held['loss']!.data).toEqual(plain['loss']!.data)
  for (const { name } of parameterSpecs(without)) {
    const [before, after] = [plain, held].map((run) => run[gradientName(name)]!.data as Float32Array)
    after!.forEach((gradient, j) => {
      // The derivative of mu / 2 |w - base|^2, by finite differences of the term itself: exact for a square.
      const [w, base] = [at.weights.get(name)![j]!, at.base.get(name)![j]!]
      const term = (x: number) => (mu / 2) * (x - base) ** 2
      const slope = (term(w + 1e-3) - term(w - 1e-3)) / 2e-3
      expect(gradient - before![j]!).toBeCloseTo(slope, 5)
    })
  }
})

test('a plan carries it, so that a node checks it; without one the bytes are what they were', () => {
  const plan = makePlan(withMu(0.01))
  expect(parsePlan(planBytes(plan))).toEqual(plan)
  expect(() => verifyPlan(plan)).not.toThrow()
  expect(plan.graphs.score).toBe(makePlan(without).graphs.score)
  expect(plan.graphs.train).not.toBe(makePlan(without).graphs.train)
  expect(makePlan(withMu(0.02)).graphs.train).not.toBe(plan.graphs.train)
  const { proximal: _, ...bare } = withMu(1).training
  expect(Buffer.from(trainGraph({ ...without, training: bare })).equals(trainGraph(without))).toBe(true)
})

test.each([
  [{ proximal: { mu: 0 } }],
  [{ proximal: { mu: -1 } }],
  [{ proximal: { mu: Number.NaN } }],
  [{ proximal: { mu: 1e9 } }],
  [{ proximal: {} }],
  [{ proximal: { mu: 1, rate: 1 } }],
  [{ elastic: { alpha: 0 } }],
  [{ elastic: { alpha: 1.1 } }],
  [{ elastic: 0.1 }],
])('refuses %j', (change) => {
  const json = { ...tiny, training: { ...tiny.training, ...change } }
  expect(() => parsePlanSpec(json)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
