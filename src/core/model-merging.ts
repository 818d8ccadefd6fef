import { z } from 'zod'
import { ensureNamed, namedText, parseNamedText } from './named-parameters.ts'

const share = z.number().min(Number.MIN_VALUE).max(1)

function method<Name extends string, Parameters extends z.core.$ZodLooseShape>(name: Name, parameters: Parameters) {
  return z.strictObject({ name: z.literal(name), parameters: z.strictObject(parameters) })
}

/**
 * How specialised checkpoints become one model, as it is asked for and recorded. Formulas and their sources stand
 * beside the arithmetic, in aggregation.
 */
export const mergingSchema = z.discriminatedUnion('name', [
  /** `density`: share of each model's changes that is kept; `strength`: factor of the merged change. */
  method('ties', { density: share.default(0.2), strength: z.number().min(Number.MIN_VALUE).max(100).default(1) }),
  /** `rate`: share of each model's changes that is dropped; `seed`: decides which. */
  method('dare', { rate: z.number().min(0).lt(1).default(0.9), seed: z.int().min(0).max(0xffffffff) }),
  /** `t`: where on the arc from the first model to the second. */
  method('slerp', { t: z.number().min(0).max(1).default(0.5) }),
])

export type Merging = z.output<typeof mergingSchema>

export const MERGING_NAMES: readonly Merging['name'][] = mergingSchema.options.map(({ shape }) => shape.name.value)

/** In one word: `ties:density=0.2,strength=1`. */
export function mergingText(merging: Merging): string {
  return namedText(merging)
}

/** Reads what {@link mergingText} writes; parameters may be left out. @throws TapestryError INVALID_ARGUMENT */
export function parseMergingText(text: string): Merging {
  return ensureNamed('merging strategy', mergingSchema, MERGING_NAMES, parseNamedText(text))
}
