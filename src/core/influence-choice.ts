import { z } from 'zod'
import { TapestryError } from './error.ts'
import { namedText, parseNamedText, parseNumbers } from './named-parameters.ts'

function weighting<Name extends string, Parameters extends z.core.$ZodLooseShape>(name: Name, parameters: Parameters) {
  return z.strictObject({ name: z.literal(name), parameters: z.strictObject(parameters) })
}

/**
 * What a run wishes contributions to weigh before its caps. `uniform` looks at nothing that a node
 * claims. The others do, and say so: whoever has (or claims) more then decides more.
 */
const weightingSchema = z.discriminatedUnion('name', [
  weighting('uniform', {}),
  /** By tokens trained on: McMahan et al. 2017 (arXiv:1602.05629), algorithm 1. */
  weighting('tokens', {}),
  /** By what the contribution gains on the operator's public evaluation sets. */
  weighting('quality', {}),
  /** Languages by p^alpha of their share of tokens: Conneau et al. 2020 (XLM-R, arXiv:1911.02116), section 3.1, where alpha is 0.3. */
  weighting('tempered', { alpha: z.number().min(0).max(1).default(0.3) }),
  /** Languages alike, none more than `epochs` times its tokens: Chung et al. 2023 (UniMax, arXiv:2304.09151), algorithm 1. */
  weighting('unimax', { epochs: z.number().min(1).max(1_000_000).default(4) }),
])

export type Weighting = z.output<typeof weightingSchema>

export const WEIGHTING_NAMES: readonly Weighting['name'][] = weightingSchema.options.map(
  ({ shape }) => shape.name.value,
)

/** In the order in which caps are put on: see policy/caps.ts. */
export const CAP_KINDS = ['node', 'member', 'jurisdiction', 'language'] as const
export type CapKind = (typeof CAP_KINDS)[number]

/** Largest share of a merge that one of each may have, above 0; 1 sets no cap. */
const cap = z.number().min(1e-6).max(1)
const capsSchema = z.strictObject({ node: cap, member: cap, jurisdiction: cap, language: cap })

export type Caps = z.output<typeof capsSchema>

/** What a contribution has to pass before it is weighed: `public` and `peers` take in `norms`. */
export const QUALITY_FLOORS = ['none', 'norms', 'public', 'peers'] as const
export type QualityFloor = (typeof QUALITY_FLOORS)[number]

/** How much a run lets each contribution decide. */
export const influenceSchema = z
  .strictObject({ weighting: weightingSchema, caps: capsSchema, floor: z.enum(QUALITY_FLOORS) })
  .refine(
    ({ weighting, floor }) => weighting.name !== 'quality' || floor === 'public',
    'weighting by quality needs the quality floor "public": what a node says of its own quality is not measured',
  )

export type Influence = z.output<typeof influenceSchema>

/** Equal shares, and no member more than half of a merge. */
export const DEFAULT_INFLUENCE: Influence = {
  weighting: { name: 'uniform', parameters: {} },
  caps: { node: 1, member: 0.5, jurisdiction: 1, language: 1 },
  floor: 'none',
}

/** Checks what an operator asks for. @throws TapestryError INVALID_ARGUMENT naming what is unknown or out of range. */
export function ensureInfluence(asked: unknown): Influence {
  const parsed = influenceSchema.safeParse(asked)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`.trim())
  throw new TapestryError('INVALID_ARGUMENT', `influence: ${problems.join('; ')}`.slice(0, 400), {
    cause: parsed.error,
  })
}

/** The weighting in one word: `tempered:alpha=0.3`. */
export function weightingText(weighting: Weighting): string {
  return namedText(weighting)
}

/** Reads what {@link weightingText} writes; parameters may be left out. @throws TapestryError INVALID_ARGUMENT */
export function parseWeightingText(text: string): Weighting {
  const parsed = weightingSchema.safeParse(parseNamedText(text))
  if (parsed.success) return parsed.data
  throw new TapestryError('INVALID_ARGUMENT', `not a weighting: "${text.slice(0, 60)}"`, {
    hint: `choose one of ${WEIGHTING_NAMES.join(', ')}`,
    cause: parsed.error,
  })
}

/** Reads `member=0.5,language=0.6`; what is left out keeps its default. @throws TapestryError INVALID_ARGUMENT */
export function parseCapsText(text: string): Caps {
  const parsed = capsSchema.safeParse({ ...DEFAULT_INFLUENCE.caps, ...parseNumbers(text) })
  if (parsed.success) return parsed.data
  throw new TapestryError('INVALID_ARGUMENT', `not caps: "${text.slice(0, 60)}"`, {
    hint: `give shares above 0 and up to 1 for ${CAP_KINDS.join(', ')}, such as member=0.5`,
    cause: parsed.error,
  })
}

/** The caps that bind, as {@link parseCapsText} reads them; `none` without any. */
export function capsText(caps: Caps): string {
  const set = CAP_KINDS.filter((kind) => caps[kind] < 1).map((kind) => `${kind}=${caps[kind]}`)
  return set.length === 0 ? 'none' : set.join(',')
}
