import { add, div, mul, sqrt, sub } from './elementwise.ts'
import { detached, type Graph, type Value } from './graph.ts'
import { mean, sumTo } from './shape.ts'

/**
 * RMSNorm over the last axis: x / sqrt(mean(x^2) + epsilon) * weight. Zhang and Sennrich,
 * arXiv:1910.07467. With n = x / rms and g = dy * weight: dx = (g - n * mean(g * n)) / rms,
 * dweight = sum(dy * n).
 */
export function rmsNorm(graph: Graph, x: Value, weight: Value, epsilon: number): Value {
  const last = [x.shape.length - 1]
  const [input, gain] = [detached(x), detached(weight)]
  const rms = sqrt(graph, add(graph, mean(graph, mul(graph, input, input), last), graph.scalar(epsilon)))
  const normal = div(graph, input, rms)
  return graph.attach(mul(graph, normal, gain), [x, weight], (dy) => {
    const g = mul(graph, dy, gain)
    const along = mean(graph, mul(graph, g, normal), last)
    const dx = div(graph, sub(graph, g, mul(graph, normal, along)), rms)
    return [dx, sumTo(graph, mul(graph, dy, normal), weight.shape)]
  })
}
