import type { LlamaArchitecture } from '../model/llama-config.ts'
import { elementCount, type TensorSpec } from '../model/tensor.ts'
import { randomFrom } from './random.ts'
import type { PlanSpec } from './spec.ts'

/** initializer_range of Hugging Face's LlamaConfig. */
const INITIAL_DEVIATION = 0.02

/**
 * The parameters of an architecture in the order of the forward pass, with the names and layouts of
 * Hugging Face's LlamaForCausalLM: matrices are [out, in]. Tied embeddings have no lm_head.weight.
 */
export function parameterShapes(architecture: LlamaArchitecture): TensorSpec[] {
  const { vocabSize, hiddenSize, layers, tiedEmbeddings } = architecture
  const shapes = [f32('model.embed_tokens.weight', [vocabSize, hiddenSize])]
  for (let layer = 0; layer < layers; layer++) shapes.push(...layerShapes(architecture, `model.layers.${layer}`))
  shapes.push(f32('model.norm.weight', [hiddenSize]))
  if (!tiedEmbeddings) shapes.push(f32('lm_head.weight', [vocabSize, hiddenSize]))
  return shapes
}

function layerShapes(architecture: LlamaArchitecture, prefix: string): TensorSpec[] {
  const { hiddenSize, intermediateSize, heads, kvHeads } = architecture
  const keySize = (hiddenSize / heads) * kvHeads
  return [
    f32(`${prefix}.input_layernorm.weight`, [hiddenSize]),
    f32(`${prefix}.self_attn.q_proj.weight`, [hiddenSize, hiddenSize]),
    f32(`${prefix}.self_attn.k_proj.weight`, [keySize, hiddenSize]),
    f32(`${prefix}.self_attn.v_proj.weight`, [keySize, hiddenSize]),
    f32(`${prefix}.self_attn.o_proj.weight`, [hiddenSize, hiddenSize]),
    f32(`${prefix}.post_attention_layernorm.weight`, [hiddenSize]),
    f32(`${prefix}.mlp.gate_proj.weight`, [intermediateSize, hiddenSize]),
    f32(`${prefix}.mlp.up_proj.weight`, [intermediateSize, hiddenSize]),
    f32(`${prefix}.mlp.down_proj.weight`, [hiddenSize, intermediateSize]),
  ]
}

function f32(name: string, shape: readonly number[]): TensorSpec {
  return { name, dtype: 'F32', shape }
}

/** Norm weights are the only vectors: they start at one and are not decayed. */
export function isNorm(parameter: TensorSpec): boolean {
  return parameter.shape.length === 1
}

/** The float32 tensors that a plan trains, in a fixed order. */
export function parameterSpecs(spec: PlanSpec): TensorSpec[] {
  return parameterShapes(spec.architecture)
}

/** A piece of initial values: small beside any model, and drawn in some milliseconds. */
const PIECE_ELEMENTS = 65_536

/**
 * The values that a parameter starts from, row-major and in pieces, the same bits on every machine: matrices are normal
 * with deviation 0.02 (cut at six deviations), norms are one. Each tensor has its own random stream, so none depends on
 * the others. A piece is valid until the next is asked for.
 */
export function* initialValues(parameter: TensorSpec, seed: number): Generator<Float32Array> {
  const draw = isNorm(parameter) ? () => 1 : normalDraws(`initial ${seed} ${parameter.name}`)
  const count = elementCount(parameter.shape)
  const piece = new Float32Array(Math.min(PIECE_ELEMENTS, count))
  for (let done = 0; done < count; done += piece.length) {
    const values = piece.subarray(0, count - done)
    for (let index = 0; index < values.length; index++) values[index] = draw()
    yield values
  }
}

function normalDraws(seed: string): () => number {
  const random = randomFrom(seed)
  return () => random.normal() * INITIAL_DEVIATION
}
