/**
 * A writer of ONNX protobuf (onnx/onnx.proto, IR version 8, opset 18): only what the graphs of a
 * plan need. Written by hand because the bytes are hashed: field order and number forms must never
 * change with a library.
 */

/**
 * Every operator a plan may use: elementwise and linear algebra of the ai.onnx domain. No control
 * flow, no functions, no random numbers, no strings, no files.
 */
export const OPERATORS = [
  'Add',
  'Cast',
  'Concat',
  'Div',
  'Exp',
  'Expand',
  'Gather',
  'Gemm',
  'Greater',
  'Identity',
  'LogSoftmax',
  'MatMul',
  'Max',
  'Min',
  'Mul',
  'Neg',
  'OneHot',
  'ReduceMean',
  'ReduceSum',
  'Reshape',
  'ScatterND',
  'Sigmoid',
  'Softmax',
  'Split',
  'Sqrt',
  'Sub',
  'Transpose',
] as const

export type Operator = (typeof OPERATORS)[number]

/** onnx.TensorProto.DataType of the element types in use. */
export const ELEMENT_TYPES = { f32: 1, i64: 7, bool: 9 } as const
export type ElementType = keyof typeof ELEMENT_TYPES

/** An integer, a list of integers, or a string attribute. */
export type Attribute = number | readonly number[] | string
export type Attributes = Readonly<Record<string, Attribute>>

export const OPSET_VERSION = 18
const IR_VERSION = 8

/** onnx.AttributeProto.AttributeType */
const ATTRIBUTE_KINDS = { int: 2, string: 3, ints: 7 } as const

function varint(value: number): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value))
  const bytes: number[] = []
  do {
    const low = Number(rest & 127n)
    rest >>= 7n
    bytes.push(rest === 0n ? low : low | 128)
  } while (rest !== 0n)
  return Buffer.from(bytes)
}

function integerField(field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3), varint(value)])
}

function bytesField(field: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(bytes.byteLength), bytes])
}

function textField(field: number, text: string): Buffer {
  return bytesField(field, Buffer.from(text, 'utf8'))
}

/** onnx.AttributeProto */
function attributeBytes(name: string, value: Attribute): Buffer {
  const head = textField(1, name)
  if (typeof value === 'number')
    return Buffer.concat([head, integerField(3, value), integerField(20, ATTRIBUTE_KINDS.int)])
  if (typeof value === 'string')
    return Buffer.concat([head, textField(4, value), integerField(20, ATTRIBUTE_KINDS.string)])
  return Buffer.concat([head, ...value.map((item) => integerField(8, item)), integerField(20, ATTRIBUTE_KINDS.ints)])
}

/** onnx.NodeProto */
export function nodeBytes(
  operator: Operator,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Attributes,
): Buffer {
  return Buffer.concat([
    ...inputs.map((name) => textField(1, name)),
    ...outputs.map((name) => textField(2, name)),
    textField(4, operator),
    ...Object.entries(attributes).map(([name, value]) => bytesField(5, attributeBytes(name, value))),
  ])
}

/** onnx.TensorProto with raw little-endian data. */
export function tensorBytes(
  name: string,
  type: 'f32' | 'i64',
  shape: readonly number[],
  data: readonly number[],
): Buffer {
  const raw = Buffer.alloc(data.length * (type === 'f32' ? 4 : 8))
  data.forEach((value, index) => {
    if (type === 'f32') raw.writeFloatLE(value, index * 4)
    else raw.writeBigInt64LE(BigInt(value), index * 8)
  })
  const dimensions = shape.map((size) => integerField(1, size))
  return Buffer.concat([...dimensions, integerField(2, ELEMENT_TYPES[type]), textField(8, name), bytesField(9, raw)])
}

/** onnx.ValueInfoProto: a name with an element type and a static shape. */
export function valueInfoBytes(name: string, type: ElementType, shape: readonly number[]): Buffer {
  const dimensions = shape.map((size) => bytesField(1, integerField(1, size)))
  const tensorType = Buffer.concat([integerField(1, ELEMENT_TYPES[type]), bytesField(2, Buffer.concat(dimensions))])
  return Buffer.concat([textField(1, name), bytesField(2, bytesField(1, tensorType))])
}

export type GraphParts = {
  readonly nodes: readonly Buffer[]
  readonly constants: readonly Buffer[]
  readonly inputs: readonly Buffer[]
  readonly outputs: readonly Buffer[]
}

/** onnx.ModelProto with one graph and the default operator set. */
export function modelBytes(name: string, parts: GraphParts): Buffer {
  const graph = Buffer.concat([
    ...parts.nodes.map((node) => bytesField(1, node)),
    textField(2, name),
    ...parts.constants.map((tensor) => bytesField(5, tensor)),
    ...parts.inputs.map((value) => bytesField(11, value)),
    ...parts.outputs.map((value) => bytesField(12, value)),
  ])
  return Buffer.concat([
    integerField(1, IR_VERSION),
    textField(2, 'tapestry'),
    bytesField(7, graph),
    bytesField(8, integerField(2, OPSET_VERSION)),
  ])
}
