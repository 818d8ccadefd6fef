import { add, div, exp, max, mul, neg, sub } from './elementwise.ts'
import { detached, type Graph, type Value } from './graph.ts'
import { reshape, sizeAt, sum, total } from './shape.ts'

type TokenLosses = {
  /** Masked negative log-likelihood of each label, in nats: [rows, 1]. */
  readonly losses: Value
  readonly logProbabilities: Value
  readonly oneHot: Value
}

/**
 * Negative log-likelihood of int64 `labels` [rows] under `logits` [rows, vocabulary], times `mask`
 * [rows] (1 counts, 0 does not).
 * @param restriction f32 [1, vocabulary], added to every logit but the label's
 */
export function tokenLosses(graph: Graph, logits: Value, labels: Value, mask: Value, restriction?: Value): TokenLosses {
  const [rows, vocabulary] = [sizeAt(logits, 0), sizeAt(logits, 1)]
  const depth = graph.constant([vocabulary], [], 'i64')
  const oneHot = graph.emit('OneHot', [labels, depth, graph.constant([0, 1], [2])], {
    shape: [rows, vocabulary],
    attributes: { axis: -1 },
  })
  const competing = restriction === undefined ? logits : add(graph, logits, exceptLabels(graph, restriction, oneHot))
  const logProbabilities = graph.emit('LogSoftmax', [detached(competing)], {
    shape: logits.shape,
    attributes: { axis: -1 },
  })
  const chosen = sum(graph, mul(graph, logProbabilities, oneHot), [1])
  return { losses: neg(graph, mul(graph, chosen, reshape(graph, mask, [rows, 1]))), logProbabilities, oneHot }
}

function exceptLabels(graph: Graph, restriction: Value, oneHot: Value): Value {
  return mul(graph, restriction, sub(graph, graph.scalar(1), oneHot))
}

/**
 * Mean cross-entropy over the tokens that the mask counts, in nats; 0 when it counts none.
 * dlogits = (softmax(logits) - onehot) * mask / count, with the softmax over the competing tokens.
 */
export function meanCrossEntropy(graph: Graph, logits: Value, labels: Value, mask: Value, restriction?: Value): Value {
  const { losses, logProbabilities, oneHot } = tokenLosses(graph, logits, labels, mask, restriction)
  const count = max(graph, total(graph, mask), graph.scalar(1))
  return graph.attach(div(graph, total(graph, losses), count), [logits], (dy) => {
    const share = reshape(graph, mul(graph, mask, div(graph, dy, count)), [sizeAt(logits, 0), 1])
    return [mul(graph, sub(graph, exp(graph, logProbabilities), oneHot), share)]
  })
}
