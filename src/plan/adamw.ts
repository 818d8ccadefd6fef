import { add, div, min, mul, scale, sqrt, sub } from './elementwise.ts'
import type { Graph, Value } from './graph.ts'
import { total } from './shape.ts'
import type { AdamwSpec } from './spec.ts'

/** A parameter with its gradient and the moments so far, all of one shape. */
export type Slot = {
  readonly parameter: Value
  readonly gradient: Value
  readonly first: Value
  readonly second: Value
  readonly decayed: boolean
}

/** Scalars that change with every step: learning rate, 1 - beta1^t and 1 - beta2^t. */
export type Schedule = { readonly learningRate: Value; readonly correction1: Value; readonly correction2: Value }

/** Keeps the division finite when the gradient is zero; the constant of torch.nn.utils.clip_grad_norm_. */
const NORM_EPSILON = 1e-6

/** Scales all gradients by min(1, clipNorm / norm), where norm is the L2 norm over all of them. */
export function clipped(graph: Graph, gradients: readonly Value[], clipNorm: number): Value[] {
  const squares = gradients.map((gradient) => total(graph, mul(graph, gradient, gradient)))
  const norm = sqrt(
    graph,
    squares.reduce((sum, square) => add(graph, sum, square)),
  )
  const ratio = div(graph, graph.scalar(clipNorm), add(graph, norm, graph.scalar(NORM_EPSILON)))
  const factor = min(graph, graph.scalar(1), ratio)
  return gradients.map((gradient) => mul(graph, gradient, factor))
}

/**
 * One step of Adam with decoupled weight decay: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2,
 * with the schedule multiplier folded into the learning rate, as in torch.optim.AdamW.
 */
export function adamw(graph: Graph, slot: Slot, schedule: Schedule, spec: AdamwSpec) {
  const { parameter, gradient } = slot
  const first = moment(graph, slot.first, gradient, spec.beta1)
  const second = moment(graph, slot.second, mul(graph, gradient, gradient), spec.beta2)
  const deviation = add(graph, sqrt(graph, div(graph, second, schedule.correction2)), graph.scalar(spec.epsilon))
  const direction = div(graph, div(graph, first, schedule.correction1), deviation)
  const decay = slot.decayed && spec.weightDecay > 0
  const change = decay ? add(graph, direction, scale(graph, parameter, spec.weightDecay)) : direction
  return { parameter: sub(graph, parameter, mul(graph, schedule.learningRate, change)), first, second }
}

function moment(graph: Graph, old: Value, sample: Value, beta: number): Value {
  return add(graph, scale(graph, old, beta), scale(graph, sample, 1 - beta))
}
