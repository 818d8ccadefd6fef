import { adamw, clipped } from './adamw.ts'
import { add, scale, sub } from './elementwise.ts'
import { gradients } from './gradient.ts'
import { detached, Graph, type Value } from './graph.ts'
import { declareWeights, llamaLogits, type Weights } from './llama.ts'
import { meanCrossEntropy } from './loss.ts'
import { isNorm, parameterSpecs } from './parameters.ts'
import { reshape } from './shape.ts'
import type { PlanSpec } from './spec.ts'

/** Names of the inputs and outputs that belong to one parameter. */
export const firstMoment = (parameter: string) => `first.${parameter}`
export const secondMoment = (parameter: string) => `second.${parameter}`
export const nextName = (input: string) => `next.${input}`
export const gradientName = (parameter: string) => `gradient.${parameter}`
export const baseName = (parameter: string) => `base.${parameter}`

/**
 * One training step as one graph: forward, loss, backward, clip, AdamW.
 *
 * Inputs: the parameters; `ids` and `labels` int64 [batch, length]; `mask` f32 [batch, length];
 * `vocabulary` f32 [1, vocabulary] unless the plan trains on all, see {@link LEFT_OUT};
 * `base.*`, the weights that the round starts from, for a plan with a proximal term;
 * scalars `learningRate`, `correction1`, `correction2`; the moments `first.*` and `second.*`.
 * Outputs: `loss` (mean nats per counted token, before the step) and `next.*` for every parameter and
 * moment. Every `next.*` depends on the norm of all gradients, hence on every use of every
 * parameter: an executor may let it overwrite its input in place.
 */
export function trainGraph(spec: PlanSpec): Uint8Array {
  const graph = new Graph('train')
  const { loss, found, weights } = lossAndGradients(graph, spec)
  const schedule = {
    learningRate: graph.input('learningRate', []),
    correction1: graph.input('correction1', []),
    correction2: graph.input('correction2', []),
  }
  graph.output(loss, 'loss')
  const limited = clipped(graph, found, spec.training.optimizer.clipNorm)
  parameterSpecs(spec).forEach((parameter, index) => {
    const { name, shape } = parameter
    const slot = {
      parameter: detached(weights(name)),
      gradient: detached(limited[index] as Value),
      first: graph.input(firstMoment(name), shape),
      second: graph.input(secondMoment(name), shape),
      decayed: !isNorm(parameter),
    }
    const next = adamw(graph, slot, schedule, spec.training.optimizer)
    graph.output(next.parameter, nextName(name))
    graph.output(next.first, nextName(firstMoment(name)))
    graph.output(next.second, nextName(secondMoment(name)))
  })
  return graph.bytes()
}

/** Loss and `gradient.*` of every parameter, of the proximal term too, without a step: how the gradients are checked. */
export function gradientGraph(spec: PlanSpec): Uint8Array {
  const graph = new Graph('gradient')
  const { loss, found } = lossAndGradients(graph, spec)
  graph.output(loss, 'loss')
  parameterSpecs(spec).forEach(({ name }, index) => {
    graph.output(found[index] as Value, gradientName(name))
  })
  return graph.bytes()
}

/** Added to the logit of a token that does not compete: its probability and its gradient become exactly 0. */
export const LEFT_OUT = -1e9

/** The input `vocabulary` holds 0 for each token that competes everywhere and {@link LEFT_OUT} for the others. */
function restriction(graph: Graph, { architecture, training }: PlanSpec): Value | undefined {
  return training.vocabulary === 'all' ? undefined : graph.input('vocabulary', [1, architecture.vocabSize])
}

function lossAndGradients(
  graph: Graph,
  spec: PlanSpec,
): { readonly loss: Value; readonly found: readonly Value[]; readonly weights: Weights } {
  const { batchSize, sequenceLength } = spec.training
  const weights = declareWeights(graph, spec.architecture, true)
  const ids = graph.input('ids', [batchSize, sequenceLength], 'i64')
  const labels = graph.input('labels', [batchSize, sequenceLength], 'i64')
  const mask = graph.input('mask', [batchSize, sequenceLength])
  const rows = [batchSize * sequenceLength]
  const logits = llamaLogits(graph, spec.architecture, weights, ids)
  const flat = { labels: reshape(graph, labels, rows), mask: reshape(graph, mask, rows) }
  const loss = meanCrossEntropy(graph, logits, flat.labels, flat.mask, restriction(graph, spec))
  const sources = parameterSpecs(spec).map(({ name }) => weights(name))
  const found = gradients(graph, loss, sources)
  return { loss, found: withProximalTerm(graph, spec, sources, found), weights }
}

/** Adds mu (w - base), the gradient of mu / 2 |w - base|^2, parameter by parameter; the loss stays that of the text. */
function withProximalTerm(
  graph: Graph,
  spec: PlanSpec,
  sources: readonly Value[],
  found: readonly Value[],
): readonly Value[] {
  const { proximal } = spec.training
  if (proximal === undefined) return found
  return parameterSpecs(spec).map(({ name, shape }, index) => {
    const distance = sub(graph, detached(sources[index] as Value), graph.input(baseName(name), shape))
    return add(graph, detached(found[index] as Value), scale(graph, distance, proximal.mu))
  })
}
