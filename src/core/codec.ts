import { z } from 'zod'
import { ensureNamed, namedText, parseNamedText } from './named-parameters.ts'

function codec<Name extends string, Parameters extends z.core.$ZodLooseShape>(name: Name, parameters: Parameters) {
  return z.strictObject({ name: z.literal(name), parameters: z.strictObject(parameters) })
}

/** Blocks are cut and found by shifts, and even the smallest keeps its scale at an eighth of its values. */
const block = z
  .int()
  .min(32)
  .max(4096)
  .refine((value) => Number.isInteger(Math.log2(value)), 'must be a power of two')

/**
 * How a run's updates travel, as it is asked for, stored and released: a name and numbers. What each
 * makes of a value, and its source, stands beside the arithmetic, in model/update-codec.
 */
export const codecSchema = z.discriminatedUnion('name', [
  codec('f32', {}),
  codec('bf16', {}),
  /** `block`: values that share one scale. */
  codec('int8', { block: block.default(256) }),
  /** `fraction`: share of a tensor's values that is sent; the node remembers the rest. */
  codec('topk', { fraction: z.number().min(Number.MIN_VALUE).max(1).default(0.01) }),
])

export type Codec = z.output<typeof codecSchema>
export type CodecName = Codec['name']

export const CODEC_NAMES: readonly CodecName[] = codecSchema.options.map(({ shape }) => shape.name.value)

/** Values as they are. */
export const F32: Codec = { name: 'f32', parameters: {} }

/**
 * Checks a name and its parameters, and fills in what is left out.
 * @throws TapestryError INVALID_ARGUMENT naming what is unknown or out of range.
 */
export function ensureCodec(name: string, parameters: Readonly<Record<string, number>>): Codec {
  return ensureNamed('codec', codecSchema, CODEC_NAMES, { name, parameters })
}

/** Whether a node remembers what the codec left out, and sends it later. */
export function keepsResidual({ name }: Codec): boolean {
  return name === 'topk'
}

/** The codec in one word, as the command line takes it and an encoded file names it: `int8:block=256`. */
export const codecText = (codec: Codec): string => namedText(codec)

/** Reads what {@link codecText} writes; parameters may be left out. @throws TapestryError INVALID_ARGUMENT */
export function parseCodecText(text: string): Codec {
  const { name, parameters } = parseNamedText(text)
  return ensureCodec(name, parameters)
}
