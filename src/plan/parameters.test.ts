import { describe, expect, test } from 'vitest'
import { initialParameters } from '../../test/initial-parameters.ts'
import { digestOf } from '../core/digest.ts'
import { parameterSpecs } from './parameters.ts'
import { PRESETS } from './presets.ts'

const { tiny } = PRESETS
const untied = { ...tiny, architecture: { ...tiny.architecture, tiedEmbeddings: false, kvHeads: 2 } }

describe('parameterSpecs', () => {
  test('follows LlamaForCausalLM in names and [out, in] layouts', () => {
    const shapes = new Map(parameterSpecs(untied).map(({ name, shape }) => [name, shape]))
    expect(shapes.size).toBe(3 + 9 * tiny.architecture.layers)
    expect(shapes.get('model.embed_tokens.weight')).toEqual([259, 64])
    expect(shapes.get('model.layers.3.self_attn.q_proj.weight')).toEqual([64, 64])
    expect(shapes.get('model.layers.3.self_attn.k_proj.weight')).toEqual([32, 64])
    expect(shapes.get('model.layers.3.mlp.gate_proj.weight')).toEqual([172, 64])
    expect(shapes.get('model.layers.3.mlp.down_proj.weight')).toEqual([64, 172])
    expect(shapes.get('lm_head.weight')).toEqual([259, 64])
  })

  test('has no lm_head when embeddings are tied', () => {
    expect(parameterSpecs(tiny).map(({ name }) => name)).not.toContain('lm_head.weight')
  })
})

describe('initialParameters', () => {
  test('are the same bits everywhere', () => {
    const bytes = [...initialParameters(tiny).values()].map((values) => new Uint8Array(values.buffer))
    expect(digestOf(Buffer.concat(bytes))).toMatchInlineSnapshot(
      `"sha256:1e6d0bcd7ebb532bcbeea7b8cb7799a5f10b632559a1a666fe660e231da74260"`,
    )
  })

  test('fit their shapes: norms of one, matrices normal with deviation 0.02', () => {
    const parameters = initialParameters(untied)
    for (const { name, shape } of parameterSpecs(untied)) {
      const values = parameters.get(name)!
      expect(values.length, name).toBe(shape.reduce((product, size) => product * size, 1))
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
      if (shape.length === 1) expect(values.every((value) => value === 1)).toBe(true)
      else expect(Math.abs(deviation / 0.02 - 1), name).toBeLessThan(0.06)
    }
  })

  test('depend on the seed', () => {
    const other = initialParameters({ ...tiny, seed: 2 })
    const name = 'model.embed_tokens.weight'
    expect(other.get(name)).not.toEqual(initialParameters(tiny).get(name))
  })
})
