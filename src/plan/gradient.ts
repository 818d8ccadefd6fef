import { add } from './elementwise.ts'
import type { Graph, Value } from './graph.ts'

/**
 * Reverse-mode differentiation: emits the gradient of the scalar `loss` by each of `sources`, in
 * their order and shapes. Every vjp emits ordinary ONNX nodes, so one graph holds both passes.
 * Baydin et al., "Automatic Differentiation in Machine Learning: a Survey", JMLR 18 (2018), section 3.2.
 */
export function gradients(graph: Graph, loss: Value, sources: readonly Value[]): Value[] {
  const found = new Map<Value, Value>([[loss, graph.scalar(1)]])
  for (const step of graph.tape.toReversed()) {
    const outgoing = step.outputs.map((output) => found.get(output))
    if (outgoing.every((gradient) => gradient === undefined)) continue
    const incoming = step.vjp(outgoing)
    step.inputs.forEach((input, index) => {
      const gradient = incoming[index]
      if (!gradient || !input.tracked) return
      const sum = found.get(input)
      found.set(input, sum ? add(graph, sum, gradient) : gradient)
    })
  }
  return sources.map((source) => {
    const gradient = found.get(source)
    if (!gradient) throw new Error(`the loss does not depend on ${source.name}`)
    return gradient
  })
}
