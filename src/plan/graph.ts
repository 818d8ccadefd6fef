import {
  type Attributes,
  type ElementType,
  type GraphParts,
  modelBytes,
  nodeBytes,
  type Operator,
  tensorBytes,
  valueInfoBytes,
} from './onnx.ts'

/** A tensor inside a graph; its shape is known while the graph is built. */
export type Value = {
  readonly name: string
  readonly shape: readonly number[]
  readonly type: ElementType
  /** Whether a gradient flows back through this value. */
  readonly tracked: boolean
}

/**
 * A vector-Jacobian product: given the gradient of the loss by each output (undefined where none
 * flows), emits the nodes for the gradient by each input.
 */
export type Vjp = (gradients: readonly (Value | undefined)[]) => readonly (Value | undefined)[]

/** One differentiable step, as recorded on the tape in order of execution. */
export type Step = { readonly inputs: readonly Value[]; readonly outputs: readonly Value[]; readonly vjp: Vjp }

type Result = { readonly shape: readonly number[]; readonly type?: ElementType; readonly attributes?: Attributes }

/**
 * A static-shape ONNX graph under construction. Values are numbered in order of emission, so the
 * same calls give the same bytes on every machine.
 */
export class Graph {
  readonly tape: Step[] = []
  readonly #name: string
  readonly #nodes: Buffer[] = []
  readonly #constants: Buffer[] = []
  readonly #inputs: Buffer[] = []
  readonly #outputs: Buffer[] = []
  readonly #shared = new Map<string, Value>()
  #count = 0

  constructor(name: string) {
    this.#name = name
  }

  /** A named input of the graph. Gradients flow to it when `tracked`. */
  input(name: string, shape: readonly number[], type: ElementType = 'f32', tracked = false): Value {
    this.#inputs.push(valueInfoBytes(name, type, shape))
    return { name, shape, type, tracked }
  }

  /** Names a value as an output of the graph. */
  output(value: Value, name: string): void {
    this.#nodes.push(nodeBytes('Identity', [value.name], [name], {}))
    this.#outputs.push(valueInfoBytes(name, value.type, value.shape))
  }

  /** A constant tensor, row-major. Equal constants are stored once. */
  constant(data: readonly number[], shape: readonly number[], type: 'f32' | 'i64' = 'f32'): Value {
    const key = `${type}[${shape.join()}]${data.join()}`
    const known = this.#shared.get(key)
    if (known) return known
    const value: Value = { name: `c${this.#shared.size}`, shape, type, tracked: false }
    this.#constants.push(tensorBytes(value.name, type, shape, data))
    this.#shared.set(key, value)
    return value
  }

  /** A float32 scalar. */
  scalar(x: number): Value {
    return this.constant([x], [])
  }

  /** A one-dimensional int64 constant: shapes, axes and split sizes. */
  integers(items: readonly number[]): Value {
    return this.constant(items, [items.length], 'i64')
  }

  /** Emits one operator with one output; `vjp` is recorded when a gradient may flow through it. */
  emit(
    operator: Operator,
    inputs: readonly Value[],
    result: Result,
    vjp?: (gradient: Value) => readonly (Value | undefined)[],
  ): Value {
    const backward: Vjp | undefined = vjp && ((gradients) => (gradients[0] ? vjp(gradients[0]) : []))
    const [value] = this.emitAll(operator, inputs, [result], backward)
    return value as Value
  }

  /** Emits one operator with several outputs, which share the attributes of the first. */
  emitAll(operator: Operator, inputs: readonly Value[], results: readonly Result[], vjp?: Vjp): Value[] {
    const tracked = vjp !== undefined && inputs.some((input) => input.tracked)
    const outputs = results.map(
      ({ shape, type = 'f32' }): Value => ({ name: `v${this.#count++}`, shape, type, tracked }),
    )
    this.#nodes.push(nodeBytes(operator, names(inputs), names(outputs), results[0]?.attributes ?? {}))
    if (tracked) this.tape.push({ inputs, outputs, vjp })
    return outputs
  }

  /** The value of `value`, with a hand-derived gradient towards `inputs`. */
  attach(value: Value, inputs: readonly Value[], vjp: (gradient: Value) => readonly (Value | undefined)[]): Value {
    const output: Value = { ...value, tracked: inputs.some((input) => input.tracked) }
    if (output.tracked)
      this.tape.push({ inputs, outputs: [output], vjp: ([gradient]) => (gradient ? vjp(gradient) : []) })
    return output
  }

  /** The serialised onnx.ModelProto. */
  bytes(): Uint8Array {
    const parts: GraphParts = {
      nodes: this.#nodes,
      constants: this.#constants,
      inputs: this.#inputs,
      outputs: this.#outputs,
    }
    return modelBytes(this.#name, parts)
  }
}

function names(values: readonly Value[]): string[] {
  return values.map((value) => value.name)
}

/** The same value, cut off from the tape: no gradient flows through it. */
export function detached(value: Value): Value {
  return { ...value, tracked: false }
}
