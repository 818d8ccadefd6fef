import type { LlamaArchitecture } from '../model/llama-config.ts'
import { add, cast, greater, mul, scale, silu } from './elementwise.ts'
import type { Graph, Value } from './graph.ts'
import { embed, linear, matmul, softmax } from './linear.ts'
import { rmsNorm } from './norm.ts'
import { parameterShapes } from './parameters.ts'
import { rotaryTable } from './rope.ts'
import { concat, expand, reshape, sizeAt, split, swapLast, transpose } from './shape.ts'

/** Looks up a parameter of the graph by its Hugging Face name. */
export type Weights = (name: string) => Value

/** Added to the scores of later positions: e^-1e9 is zero in float32, and no sum of it overflows. */
const MASKED = -1e9

/** What all layers share: rotary tables [length, headSize] and the causal mask [length, length]. */
type Shared = { readonly cosines: Value; readonly sines: Value; readonly mask: Value }

/** Declares every parameter as an input of the graph, in the order of parameters.ts. */
export function declareWeights(graph: Graph, architecture: LlamaArchitecture, tracked: boolean): Weights {
  const inputs = new Map(
    parameterShapes(architecture).map(({ name, shape }) => [name, graph.input(name, shape, 'f32', tracked)]),
  )
  return (name) => {
    const value = inputs.get(name)
    if (!value) throw new Error(`no parameter ${name}`)
    return value
  }
}

/**
 * The forward pass of a Llama (Touvron et al., arXiv:2302.13971; grouped-query attention from
 * arXiv:2305.13245), equal to Hugging Face's LlamaForCausalLM in float32.
 * @param ids int64 [batch, length]
 * @returns logits [batch * length, vocabulary]
 */
export function llamaLogits(graph: Graph, architecture: LlamaArchitecture, weights: Weights, ids: Value): Value {
  const [batch, length] = [sizeAt(ids, 0), sizeAt(ids, 1)]
  const shared = sharedTables(graph, architecture, length)
  let x = embed(graph, weights('model.embed_tokens.weight'), ids)
  for (let layer = 0; layer < architecture.layers; layer++) {
    x = decoderLayer(graph, architecture, (name) => weights(`model.layers.${layer}.${name}`), shared, x)
  }
  const last = rmsNorm(graph, x, weights('model.norm.weight'), architecture.normEpsilon)
  const head = weights(architecture.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight')
  return linear(graph, reshape(graph, last, [batch * length, architecture.hiddenSize]), head)
}

function sharedTables(graph: Graph, architecture: LlamaArchitecture, length: number): Shared {
  const headSize = architecture.hiddenSize / architecture.heads
  const table = rotaryTable(length, headSize, architecture.ropeTheta)
  const positions = Array.from({ length }, (_, position) => position)
  const later = greater(graph, graph.constant(positions, [1, length]), graph.constant(positions, [length, 1]))
  return {
    cosines: graph.constant(table.cosines, [length, headSize]),
    sines: graph.constant(table.sines, [length, headSize]),
    mask: scale(graph, cast(graph, later, 'f32'), MASKED),
  }
}

function decoderLayer(graph: Graph, architecture: LlamaArchitecture, weights: Weights, shared: Shared, x: Value) {
  const { normEpsilon } = architecture
  const attended = rmsNorm(graph, x, weights('input_layernorm.weight'), normEpsilon)
  const middle = add(graph, x, attention(graph, architecture, weights, shared, attended))
  const normal = rmsNorm(graph, middle, weights('post_attention_layernorm.weight'), normEpsilon)
  return add(graph, middle, feedForward(graph, weights, normal))
}

/** SwiGLU: down(silu(gate(x)) * up(x)). Shazeer, arXiv:2002.05202. */
function feedForward(graph: Graph, weights: Weights, x: Value): Value {
  const gate = silu(graph, linear(graph, x, weights('mlp.gate_proj.weight')))
  const up = linear(graph, x, weights('mlp.up_proj.weight'))
  return linear(graph, mul(graph, gate, up), weights('mlp.down_proj.weight'))
}

function attention(graph: Graph, architecture: LlamaArchitecture, weights: Weights, shared: Shared, x: Value): Value {
  const { hiddenSize, heads, kvHeads } = architecture
  const headSize = hiddenSize / heads
  const project = (name: string, count: number) =>
    splitHeads(graph, linear(graph, x, weights(`self_attn.${name}_proj.weight`)), count)
  const query = rotate(graph, project('q', heads), shared)
  const key = repeatHeads(graph, rotate(graph, project('k', kvHeads), shared), heads)
  const value = repeatHeads(graph, project('v', kvHeads), heads)
  const scores = matmul(graph, scale(graph, query, 1 / Math.sqrt(headSize)), swapLast(graph, key))
  const context = matmul(graph, softmax(graph, add(graph, scores, shared.mask)), value)
  const joined = reshape(graph, transpose(graph, context, [0, 2, 1, 3]), x.shape)
  return linear(graph, joined, weights('self_attn.o_proj.weight'))
}

/** [batch, length, heads * size] to [batch, heads, length, size]. */
function splitHeads(graph: Graph, x: Value, heads: number): Value {
  const [batch, length] = [sizeAt(x, 0), sizeAt(x, 1)]
  return transpose(graph, reshape(graph, x, [batch, length, heads, sizeAt(x, 2) / heads]), [0, 2, 1, 3])
}

/** Repeats every key or value head for the group of query heads that shares it. */
function repeatHeads(graph: Graph, x: Value, heads: number): Value {
  const [batch, kvHeads, length, size] = [sizeAt(x, 0), sizeAt(x, 1), sizeAt(x, 2), sizeAt(x, 3)]
  if (kvHeads === heads) return x
  const grouped = reshape(graph, x, [batch, kvHeads, 1, length, size])
  const repeated = expand(graph, grouped, [batch, kvHeads, heads / kvHeads, length, size])
  return reshape(graph, repeated, [batch, heads, length, size])
}

/** Rotary embedding of x [batch, heads, length, size]; see rope.ts for the layout. */
function rotate(graph: Graph, x: Value, { cosines, sines }: Shared): Value {
  const half = sizeAt(x, 3) / 2
  const halves = split(graph, x, 3, [half, half])
  const swapped = concat(graph, halves.toReversed(), 3)
  return add(graph, mul(graph, x, cosines), mul(graph, swapped, sines))
}
