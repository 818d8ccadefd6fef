import { open } from 'node:fs/promises'
import { TapestryError } from '../core/error.ts'
import type { Strategy } from '../core/strategy.ts'
import { encodeHeader } from '../model/safetensors.ts'
import { checkTensors } from '../model/schema.ts'
import type { TensorSpec } from '../model/tensor.ts'
import { ELEMENT_BYTES, type Layout, layoutOf, type Model, readFloatHeader } from './merge-layout.ts'
import { elementsOf } from './merge-sources.ts'
import { stateVectorsOf } from './strategies/optimiser-of.ts'

/** Tensors of a state file: for each vector of the optimizer, those of the model, as `momentum.<name>`. All F32. */
function stateSpecs(strategy: Strategy, model: Model): TensorSpec[] {
  return stateVectorsOf(strategy).flatMap((vector) =>
    [...model.tensors.values()].map(({ name, shape }): TensorSpec => {
      return { name: `${vector}.${name}`, dtype: 'F32', shape }
    }),
  )
}

/** Bytes of the state's header. Its canonical order keeps each vector in one piece, in the order of the model. */
export function stateHeader(strategy: Strategy, model: Model): Uint8Array {
  return encodeHeader(stateSpecs(strategy, model), {})
}

/**
 * Makes a state file with a header and room for every vector.
 * @returns position of its first element
 */
export async function createState(path: string, strategy: Strategy, model: Model): Promise<number> {
  const header = stateHeader(strategy, model)
  const file = await open(path, 'wx')
  try {
    await file.writeFile(header)
    await file.truncate(header.byteLength + stateVectorsOf(strategy).length * elementsOf(model) * ELEMENT_BYTES)
    return header.byteLength
  } finally {
    await file.close()
  }
}

/**
 * Where a state file keeps each vector.
 * @throws TapestryError NOT_FOUND; DATA_INVALID when malformed or not the state of this strategy and model
 */
export async function readStateLayouts(path: string, strategy: Strategy, model: Model): Promise<Layout[]> {
  const header = await readFloatHeader(path)
  const verdict = checkTensors(header, stateSpecs(strategy, model))
  if (!verdict.ok) throw new TapestryError('DATA_INVALID', `${path}: ${verdict.rejection.detail}`)
  return stateVectorsOf(strategy).map((vector) => {
    const own = [...header.tensors].filter(([name]) => name.startsWith(`${vector}.`))
    return layoutOf(path, { ...header, tensors: new Map(own) })
  })
}
