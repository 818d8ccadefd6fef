import { elementCount } from '../model/tensor.ts'
import { mul, sub } from './elementwise.ts'
import { detached, type Graph, type Value } from './graph.ts'
import { expand, reshape, sizeAt, sum, swapLast } from './shape.ts'

/** One product of two matrices, each transposed first when asked: [m, k] by [k, n] to [m, n]. */
export function gemm(graph: Graph, a: Value, b: Value, transA: 0 | 1 = 0, transB: 0 | 1 = 0): Value {
  const inner = sizeAt(a, transA ? 0 : 1)
  if (inner !== sizeAt(b, transB ? 1 : 0)) throw new Error(`cannot multiply [${a.shape}] by [${b.shape}]`)
  const shape = [sizeAt(a, transA ? 1 : 0), sizeAt(b, transB ? 0 : 1)]
  return graph.emit('Gemm', [a, b], { shape, attributes: { transA, transB } }, (dy) => [
    a.tracked ? gradientOfLeft(graph, b, dy, transA, transB) : undefined,
    b.tracked ? gradientOfRight(graph, a, dy, transA, transB) : undefined,
  ])
}

function gradientOfLeft(graph: Graph, b: Value, dy: Value, transA: 0 | 1, transB: 0 | 1): Value {
  return transA ? gemm(graph, b, dy, transB, 1) : gemm(graph, dy, b, 0, transB ? 0 : 1)
}

function gradientOfRight(graph: Graph, a: Value, dy: Value, transA: 0 | 1, transB: 0 | 1): Value {
  return transB ? gemm(graph, dy, a, 1, transA) : gemm(graph, a, dy, transA ? 0 : 1, 0)
}

/** x [..., in] by weight [out, in], the layout of torch.nn.Linear, to [..., out]. */
export function linear(graph: Graph, x: Value, weight: Value): Value {
  const lead = x.shape.slice(0, -1)
  const rows = reshape(graph, x, [elementCount(lead), sizeAt(x, -1)])
  return reshape(graph, gemm(graph, rows, weight, 0, 1), [...lead, sizeAt(weight, 0)])
}

/** Batched product over equal leading axes: [..., m, k] by [..., k, n]. */
export function matmul(graph: Graph, a: Value, b: Value): Value {
  return graph.emit('MatMul', [a, b], { shape: [...a.shape.slice(0, -1), sizeAt(b, -1)] }, (dy) => [
    a.tracked ? matmul(graph, dy, swapLast(graph, b)) : undefined,
    b.tracked ? matmul(graph, swapLast(graph, a), dy) : undefined,
  ])
}

/** Over the last axis. dx = y * (dy - sum(dy * y)). */
export function softmax(graph: Graph, a: Value): Value {
  const last = a.shape.length - 1
  const y = graph.emit('Softmax', [detached(a)], { shape: a.shape, attributes: { axis: -1 } })
  return graph.attach(y, [a], (dy) => [mul(graph, y, sub(graph, dy, sum(graph, mul(graph, dy, y), [last])))])
}

/** Rows of `table` [vocabulary, width] chosen by int64 `ids` [...], to [..., width]. Repeated ids add up in the gradient. */
export function embed(graph: Graph, table: Value, ids: Value): Value {
  const width = sizeAt(table, 1)
  const count = elementCount(ids.shape)
  return graph.emit('Gather', [table, ids], { shape: [...ids.shape, width], attributes: { axis: 0 } }, (dy) => {
    const zeros = expand(graph, graph.scalar(0), table.shape)
    const inputs = [zeros, reshape(graph, ids, [count, 1]), reshape(graph, dy, [count, width])]
    return [graph.emit('ScatterND', inputs, { shape: table.shape, attributes: { reduction: 'add' } })]
  })
}
