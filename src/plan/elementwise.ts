import { detached, type Graph, type Value } from './graph.ts'
import { ELEMENT_TYPES, type ElementType } from './onnx.ts'
import { sumTo } from './shape.ts'

/** The shape of an elementwise result under numpy broadcasting. */
function broadcast(a: Value, b: Value): number[] {
  const rank = Math.max(a.shape.length, b.shape.length)
  return Array.from({ length: rank }, (_, axis) => {
    const x = a.shape[a.shape.length - rank + axis] ?? 1
    const y = b.shape[b.shape.length - rank + axis] ?? 1
    if (x !== y && x !== 1 && y !== 1) throw new Error(`cannot broadcast [${a.shape}] with [${b.shape}]`)
    return Math.max(x, y)
  })
}

/** The gradient towards `input`, emitted only when one is wanted. */
function towards(graph: Graph, input: Value, gradient: () => Value): Value | undefined {
  return input.tracked ? sumTo(graph, gradient(), input.shape) : undefined
}

export function add(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Add', [a, b], { shape: broadcast(a, b) }, (dy) => [
    towards(graph, a, () => dy),
    towards(graph, b, () => dy),
  ])
}

export function sub(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Sub', [a, b], { shape: broadcast(a, b) }, (dy) => [
    towards(graph, a, () => dy),
    towards(graph, b, () => neg(graph, dy)),
  ])
}

export function mul(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Mul', [a, b], { shape: broadcast(a, b) }, (dy) => [
    towards(graph, a, () => mul(graph, dy, b)),
    towards(graph, b, () => mul(graph, dy, a)),
  ])
}

export function scale(graph: Graph, a: Value, factor: number): Value {
  return mul(graph, a, graph.scalar(factor))
}

export function neg(graph: Graph, a: Value): Value {
  return graph.emit('Neg', [a], { shape: a.shape }, (dy) => [neg(graph, dy)])
}

/** x * sigmoid(x), whose derivative is s * (1 + x * (1 - s)). Elfwing et al., arXiv:1702.03118. */
export function silu(graph: Graph, a: Value): Value {
  const x = detached(a)
  const s = graph.emit('Sigmoid', [x], { shape: a.shape })
  return graph.attach(mul(graph, x, s), [a], (dy) => {
    const one = graph.scalar(1)
    const slope = mul(graph, s, add(graph, one, mul(graph, x, sub(graph, one, s))))
    return [mul(graph, dy, slope)]
  })
}

// What follows carries no gradient: it serves masks, norms and the optimizer.

export function div(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Div', [a, b], { shape: broadcast(a, b) })
}

export function sqrt(graph: Graph, a: Value): Value {
  return graph.emit('Sqrt', [a], { shape: a.shape })
}

export function exp(graph: Graph, a: Value): Value {
  return graph.emit('Exp', [a], { shape: a.shape })
}

export function max(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Max', [a, b], { shape: broadcast(a, b) })
}

export function min(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Min', [a, b], { shape: broadcast(a, b) })
}

export function greater(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('Greater', [a, b], { shape: broadcast(a, b), type: 'bool' })
}

export function cast(graph: Graph, a: Value, type: ElementType): Value {
  return graph.emit('Cast', [a], { shape: a.shape, type, attributes: { to: ELEMENT_TYPES[type] } })
}
