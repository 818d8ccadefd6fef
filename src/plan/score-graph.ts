import { Graph } from './graph.ts'
import { declareWeights, llamaLogits } from './llama.ts'
import { tokenLosses } from './loss.ts'
import { reshape, sum } from './shape.ts'
import type { PlanSpec } from './spec.ts'

/**
 * Scores a batch without changing anything.
 *
 * Inputs: the parameters; `ids` and `labels` int64 [batch, length]; `mask` f32 [batch, length].
 * Outputs, one element per sequence: `losses`, the sum of the negative log-likelihood of its counted
 * labels in nats, and `counts`, how many it counts. Means and standard errors are the caller's.
 */
export function scoreGraph(spec: PlanSpec): Uint8Array {
  const graph = new Graph('score')
  const { batchSize, sequenceLength } = spec.training
  const batch = [batchSize, sequenceLength]
  const weights = declareWeights(graph, spec.architecture, false)
  const ids = graph.input('ids', batch, 'i64')
  const labels = graph.input('labels', batch, 'i64')
  const mask = graph.input('mask', batch)
  const rows = [batchSize * sequenceLength]
  const logits = llamaLogits(graph, spec.architecture, weights, ids)
  const { losses } = tokenLosses(graph, logits, reshape(graph, labels, rows), reshape(graph, mask, rows))
  const perSequence = sum(graph, reshape(graph, losses, batch), [1])
  graph.output(reshape(graph, perSequence, [batchSize]), 'losses')
  graph.output(reshape(graph, sum(graph, mask, [1]), [batchSize]), 'counts')
  return graph.bytes()
}
