import { writeSafetensors } from '../model/safetensors.ts'
import type { TensorSpec } from '../model/tensor.ts'
import type { ElasticFiles } from './messages.ts'
import { floatsOf, readWeights, type Tensors } from './session.ts'

/**
 * The weights that a node of an elastic plan goes on from: its own. A node that has none yet, or whose file is
 * damaged, starts from the base like everybody in the first round.
 */
export async function ownWeights(
  files: ElasticFiles | undefined,
  specs: readonly TensorSpec[],
): Promise<Tensors | undefined> {
  if (files?.start === undefined) return undefined
  return readWeights([files.start], specs).catch(() => undefined)
}

/**
 * Writes the weights that the node keeps for its next round: w - alpha (w - base), the elastic force of the base on
 * the node. Zhang, Choromanska and LeCun 2015 (arXiv:1412.6651), equation 5, its force applied once after the local
 * steps of a round, which are their communication period (section 3.1, algorithm 1).
 * @throws TapestryError DISK_FULL; NOT_FOUND
 */
export async function writeOwnWeights(
  path: string,
  alpha: number,
  weights: Tensors,
  base: ReadonlyMap<string, Float32Array>,
  specs: readonly TensorSpec[],
): Promise<void> {
  const tensors = specs.map((spec) => {
    const center = base.get(spec.name) ?? new Float32Array()
    const data = floatsOf(weights, spec.name).map((value, index) => value - alpha * (value - (center[index] ?? 0)))
    return { ...spec, data }
  })
  await writeSafetensors(path, tensors)
}
