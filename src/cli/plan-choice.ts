import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { PRESETS, type PresetName } from '../plan/presets.ts'
import { type PlanSpec, parsePlanSpec } from '../plan/spec.ts'
import { readNamedFile } from './named-file.ts'

export const PRESET_NAMES = ['tiny', 'small', 'base'] as const satisfies readonly PresetName[]

/** Where a plan comes from, and what is changed in it. */
export type PlanChoice = {
  readonly preset?: PresetName | undefined
  /** Path of a JSON file. */
  readonly plan?: string | undefined
  readonly localSteps?: number | undefined
  readonly batchSize?: number | undefined
  readonly learningRate?: number | undefined
  readonly seed?: number | undefined
}

/**
 * Canonical JSON of the chosen spec.
 * @throws TapestryError INVALID_ARGUMENT when neither or both are given, or the spec is out of bounds; NOT_FOUND
 *   when the file is not there.
 */
export async function planSpecBytes(choice: PlanChoice): Promise<Uint8Array> {
  return canonicalBytes(parsePlanSpec(changed(await chosenSpec(choice), choice)))
}

async function chosenSpec({ preset, plan }: PlanChoice): Promise<PlanSpec> {
  if (preset !== undefined && plan === undefined) return PRESETS[preset]
  if (plan !== undefined && preset === undefined) return parsePlanSpec(parseJson(plan, await readNamedFile(plan)))
  throw new TapestryError('INVALID_ARGUMENT', 'give either --preset or --plan', {
    hint: `--preset ${PRESET_NAMES.join('|')}`,
  })
}

function changed(spec: PlanSpec, { localSteps, batchSize, learningRate, seed }: PlanChoice): PlanSpec {
  const { training } = spec
  return {
    ...spec,
    seed: seed ?? spec.seed,
    training: {
      ...training,
      localSteps: localSteps ?? training.localSteps,
      batchSize: batchSize ?? training.batchSize,
      optimizer: { ...training.optimizer, learningRate: learningRate ?? training.optimizer.learningRate },
    },
  }
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', `${path} is not JSON`, { cause })
  }
}
