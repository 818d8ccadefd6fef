import { jsonFile, type ModelFile } from './model-file.ts'
import { BOS_ID, EOS_ID, PAD_ID } from './tokenizer.ts'

/** The dimensions of a Llama, as a plan states them. Sizes in elements; `contextLength` in tokens. */
export type LlamaArchitecture = {
  readonly kind: 'llama'
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly contextLength: number
  readonly normEpsilon: number
  readonly ropeTheta: number
  readonly tiedEmbeddings: boolean
}

/**
 * config.json for `LlamaForCausalLM`. States the rotary base and the dtype twice: in the form of
 * transformers 5 (`rope_parameters`, `dtype`) and in the older one (`rope_theta`, `torch_dtype`).
 */
export function llamaConfigJson(architecture: LlamaArchitecture, { dtype }: { dtype: 'float32' }): Uint8Array {
  return llamaConfigFile(architecture, dtype).bytes
}

function llamaConfigFile(architecture: LlamaArchitecture, dtype: 'float32'): ModelFile {
  const theta = architecture.ropeTheta
  return jsonFile('config.json', {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: architecture.vocabSize,
    hidden_size: architecture.hiddenSize,
    intermediate_size: architecture.intermediateSize,
    num_hidden_layers: architecture.layers,
    num_attention_heads: architecture.heads,
    num_key_value_heads: architecture.kvHeads,
    head_dim: architecture.hiddenSize / architecture.heads,
    max_position_embeddings: architecture.contextLength,
    rms_norm_eps: architecture.normEpsilon,
    tie_word_embeddings: architecture.tiedEmbeddings,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    attention_dropout: 0,
    initializer_range: 0.02,
    bos_token_id: BOS_ID,
    eos_token_id: EOS_ID,
    pad_token_id: PAD_ID,
    rope_parameters: { rope_theta: theta, rope_type: 'default' },
    rope_theta: theta,
    dtype,
    torch_dtype: dtype,
  })
}
