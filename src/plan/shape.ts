import { elementCount } from '../model/tensor.ts'
import type { Graph, Value } from './graph.ts'

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis])
}

/** The size of `value` along `axis`; a negative axis counts from the end. */
export function sizeAt(value: Value, axis: number): number {
  const size = value.shape.at(axis)
  if (size === undefined) throw new Error(`${value.name} has no axis ${axis}`)
  return size
}

export function reshape(graph: Graph, a: Value, shape: readonly number[]): Value {
  if (sameShape(a.shape, shape)) return a
  if (elementCount(a.shape) !== elementCount(shape)) throw new Error(`cannot reshape [${a.shape}] to [${shape}]`)
  return graph.emit('Reshape', [a, graph.integers(shape)], { shape, type: a.type }, (dy) => [
    reshape(graph, dy, a.shape),
  ])
}

export function transpose(graph: Graph, a: Value, order: readonly number[]): Value {
  const shape = order.map((axis) => sizeAt(a, axis))
  const inverse = order.map((_, axis) => order.indexOf(axis))
  return graph.emit('Transpose', [a], { shape, attributes: { perm: order } }, (dy) => [transpose(graph, dy, inverse)])
}

/** Exchanges the last two axes. */
export function swapLast(graph: Graph, a: Value): Value {
  const rank = a.shape.length
  const order = a.shape.map((_, axis) => (axis < rank - 2 ? axis : 2 * rank - 3 - axis))
  return transpose(graph, a, order)
}

/** Repeats `a` along its axes of size one up to `shape` (numpy broadcasting). */
export function expand(graph: Graph, a: Value, shape: readonly number[]): Value {
  return graph.emit('Expand', [a, graph.integers(shape)], { shape }, (dy) => [sumTo(graph, dy, a.shape)])
}

/** Cuts `a` along `axis` into parts of the given sizes. */
export function split(graph: Graph, a: Value, axis: number, sizes: readonly number[]): Value[] {
  const shapes = sizes.map((part) => a.shape.map((size, index) => (index === axis ? part : size)))
  const results = shapes.map((shape) => ({ shape, attributes: { axis } }))
  return graph.emitAll('Split', [a, graph.integers(sizes)], results, (gradients) => {
    const parts = gradients.map((dy, index) => dy ?? expand(graph, graph.scalar(0), shapes[index] ?? []))
    return [concat(graph, parts, axis)]
  })
}

export function concat(graph: Graph, parts: readonly Value[], axis: number): Value {
  const sizes = parts.map((part) => sizeAt(part, axis))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  const shape = (parts[0]?.shape ?? []).map((size, index) => (index === axis ? total : size))
  return graph.emit('Concat', parts, { shape, attributes: { axis } }, (dy) => split(graph, dy, axis, sizes))
}

/** Sums over `axes` and keeps them with size one. */
export function sum(graph: Graph, a: Value, axes: readonly number[]): Value {
  return graph.emit('ReduceSum', [a, graph.integers(axes)], reduced(a, axes), (dy) => [expand(graph, dy, a.shape)])
}

/** Averages over `axes` and keeps them with size one. No gradient: the norm has its own. */
export function mean(graph: Graph, a: Value, axes: readonly number[]): Value {
  return graph.emit('ReduceMean', [a, graph.integers(axes)], reduced(a, axes))
}

/** The sum of all elements, a scalar. */
export function total(graph: Graph, a: Value): Value {
  return reshape(
    graph,
    sum(
      graph,
      a,
      a.shape.map((_, axis) => axis),
    ),
    [],
  )
}

function reduced(a: Value, axes: readonly number[]) {
  return { shape: a.shape.map((size, axis) => (axes.includes(axis) ? 1 : size)), attributes: { keepdims: 1 } }
}

/** Undoes broadcasting: sums a gradient over the axes that were repeated, back to `shape`. */
export function sumTo(graph: Graph, gradient: Value, shape: readonly number[]): Value {
  if (sameShape(gradient.shape, shape)) return gradient
  const lead = gradient.shape.length - shape.length
  const repeated = gradient.shape.flatMap((size, axis) =>
    axis < lead || (shape[axis - lead] === 1 && size !== 1) ? [axis] : [],
  )
  return reshape(graph, sum(graph, gradient, repeated), shape)
}
