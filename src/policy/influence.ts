import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { CAP_KINDS, type CapKind, type Caps, type Influence, weightingText } from '../core/influence-choice.ts'
import { compareText } from '../core/order.ts'
import { type Belonging, groupTotals, sharesUnderCaps } from './caps.ts'
import { wishedShares } from './wish.ts'

/** Names the rules that decided a weight, so that an old decision can be read by its own rules. */
export const INFLUENCE_POLICY = 'influence/2'

/** Contributions of members whose jurisdiction nobody declared are one group. */
const UNKNOWN_JURISDICTION = 'unknown'
/** A share this near to its cap has met it. */
const MET = 1e-9
/** What a signed manifest takes. */
const LONGEST_REASON = 500

/** What a weight is decided from. */
export type Influencer = {
  readonly id: string
  readonly node: string
  readonly member: string
  /** Null when nobody declared it. */
  readonly jurisdiction: string | null
  /** Euclidean norm of the delta. */
  readonly norm: number
  /** Tokens that the node says it trained on. */
  readonly languages: readonly { readonly language: string; readonly tokens: number }[]
  /** Gain on the operator's public sets or as peers measured it, nats per token; null when nothing measured it. */
  readonly quality: number | null
  /** Why it is below the run's quality floor; null when it is not. */
  readonly below: string | null
  /** What peers made of it, in a sentence; only where they were asked. */
  readonly peers?: string | undefined
}

/** The run's rules for one round. */
export type InfluenceRules = Influence & {
  /** Most tokens that a claim counts for: what the plan's steps can read. */
  readonly mostTokens: number
  /** Whether the run's strategy uses weights at all. */
  readonly counts: boolean
}

const share = z.number().min(0).max(1)

/** How a weight came about, for the record. */
export const weightDecisionSchema = z.strictObject({
  /** {@link INFLUENCE_POLICY} of the build that decided. */
  policy: z.string(),
  /** The run's weighting in one word. */
  weighting: z.string(),
  /** Tokens that the node claimed, and those that were counted. */
  claimed: z.number(),
  tokens: z.number(),
  /** By language, adding up to 1. */
  languages: z.record(z.string(), share),
  jurisdiction: z.string().nullable(),
  quality: z.number().nullable(),
  /** Why it is below the quality floor; null when it is not. */
  below: z.string().nullable(),
  /** What peers made of it, in a sentence; only where they were asked. */
  peers: z.string().optional(),
  /** Share before caps. */
  wished: share,
  /** Caps that the contribution's groups have reached: `limit` is above `asked` where that could not hold. */
  caps: z.array(z.strictObject({ kind: z.enum(CAP_KINDS), group: z.string(), asked: share, limit: share })),
  /** Whether the strategy uses weights: where not, all that are merged count alike. */
  counts: z.boolean(),
})

export type WeightRecord = z.output<typeof weightDecisionSchema>

/** One contribution's share in the merge, 0 to 1, exactly as the merge uses it, the reason in words, and the record. */
export type WeightDecision = {
  readonly id: string
  readonly value: number
  readonly reason: string
  readonly decision: WeightRecord
}

type Candidate = { readonly one: Influencer; readonly tokens: Readonly<Record<string, number>> }

/**
 * Decides every contribution's weight. Those below the quality floor get 0; the others are wished
 * shares by the run's weighting, and the nearest shares under its caps. Weights are not negative and
 * add up to 1 within 1e-9 (the merge's tolerance); caps hold within 1e-9, raised where they cannot
 * ({@link sharesUnderCaps}). Nothing but the arguments matters, and not their order.
 * @returns decisions ordered by node id, which is the order of the merge.
 * @throws TapestryError INVALID_ARGUMENT for none, for a node that appears twice (its influence would
 * count double), for a norm or tokens that are not finite numbers from 0, or when all are below the floor.
 */
export function decideWeights(contributions: readonly Influencer[], rules: InfluenceRules): WeightDecision[] {
  const ordered = byNode(contributions)
  if (ordered.length === 0) throw new TapestryError('INVALID_ARGUMENT', 'there is no contribution to weigh')
  ordered.forEach(ensureSound)
  const candidates = ordered.map((one): Candidate => ({ one, tokens: countedTokens(one, rules.mostTokens) }))
  const weighed = candidates.filter(({ one }) => one.below === null)
  if (weighed.length === 0) throw new TapestryError('INVALID_ARGUMENT', 'every contribution is below the quality floor')
  const holdings = weighed.map(({ one, tokens }) => ({ tokens, quality: one.quality }))
  const wished = wishedShares(rules.weighting, holdings)
  const { shares, belongings, kept } = capped(weighed, wished, rules.caps)
  const totals = allTotals(belongings, shares)
  const position = new Map(weighed.map(({ one }, index) => [one.node, index]))
  return candidates.map((candidate) => {
    const index = position.get(candidate.one.node)
    const met = index === undefined ? [] : capsMet(belongings[index]!, totals, rules.caps, kept)
    const wish = index === undefined ? 0 : wished[index]!
    const value = index === undefined ? 0 : Math.min(1, shares[index]!)
    const decision = recordOf(candidate, rules, wish, met)
    return { id: candidate.one.id, value, reason: reasonOf(decision, value, weighed.length), decision }
  })
}

/** Orders by node id, compared by UTF-16 code units: the same on every machine, unlike locale order. */
export function byNode<T extends { readonly node: string }>(rows: readonly T[]): T[] {
  return [...rows].sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0))
}

function ensureSound(one: Influencer, index: number, ordered: readonly Influencer[]): void {
  const refuse = (problem: string) => {
    throw new TapestryError('INVALID_ARGUMENT', problem)
  }
  if (ordered[index - 1]?.node === one.node) refuse(`${one.node} contributes twice to one merge`)
  if (!isMeasure(one.norm)) refuse(`the delta of ${one.node} has the norm ${one.norm}`)
  const wrong = one.languages.find(({ tokens }) => !isMeasure(tokens))
  if (wrong !== undefined) refuse(`${one.node} claims ${wrong.tokens} tokens of ${wrong.language}`)
  if (one.quality !== null && !Number.isFinite(one.quality)) refuse(`the quality of ${one.node} is ${one.quality}`)
}

/** False for NaN too. */
function isMeasure(number: number): boolean {
  return number >= 0 && number < Number.POSITIVE_INFINITY
}

/** A claim counts up to the most that is possible; beyond it every language is scaled down alike. */
function countedTokens({ languages }: Influencer, most: number): Record<string, number> {
  const tokens = new Map<string, number>()
  for (const one of languages) tokens.set(one.language, (tokens.get(one.language) ?? 0) + one.tokens)
  const claimed = [...tokens.values()].reduce((sum, count) => sum + count, 0)
  const scale = claimed > most ? most / claimed : 1
  return Object.fromEntries(
    [...tokens].sort(([a], [b]) => compareText(a, b)).map(([tag, count]) => [tag, count * scale]),
  )
}

/** Wishes of 0 stay 0, whatever room the caps leave. */
function capped(weighed: readonly Candidate[], wished: readonly number[], caps: Caps) {
  const belongings = weighed.map(belongingOf)
  const some = wished.flatMap((wish, index) => (wish > 0 ? [index] : []))
  const pick = <T>(all: readonly T[]) => some.map((index) => all[index]!)
  const { shares, kept } = sharesUnderCaps(pick(wished), pick(belongings), caps)
  const whole = wished.map(() => 0)
  for (const [k, index] of some.entries()) whole[index] = shares[k]!
  return { shares: whole, belongings, kept }
}

function belongingOf({ one, tokens }: Candidate): Belonging {
  return {
    node: { [one.node]: 1 },
    member: { [one.member]: 1 },
    jurisdiction: { [one.jurisdiction ?? UNKNOWN_JURISDICTION]: 1 },
    language: languageParts(tokens),
  }
}

/** By tokens; alike where none are claimed. */
function languageParts(tokens: Readonly<Record<string, number>>): Record<string, number> {
  const entries = Object.entries(tokens)
  const total = entries.reduce((sum, [, count]) => sum + count, 0)
  return Object.fromEntries(entries.map(([tag, count]) => [tag, total > 0 ? count / total : 1 / entries.length]))
}

type Totals = Readonly<Record<CapKind, ReadonlyMap<string, number>>>

function allTotals(belongings: readonly Belonging[], shares: readonly number[]): Totals {
  const of = (kind: CapKind) => groupTotals(kind, belongings, shares)
  return { node: of('node'), member: of('member'), jurisdiction: of('jurisdiction'), language: of('language') }
}

function capsMet(belonging: Belonging, totals: Totals, asked: Caps, kept: Caps): WeightRecord['caps'] {
  return CAP_KINDS.flatMap((kind) => {
    if (asked[kind] >= 1) return []
    const full = Object.entries(belonging[kind]).filter(
      ([group, part]) => part > 0 && (totals[kind].get(group) ?? 0) >= kept[kind] - MET,
    )
    return full.map(([group]) => ({ kind, group, asked: asked[kind], limit: kept[kind] }))
  })
}

function recordOf(
  { one, tokens }: Candidate,
  { weighting, counts }: InfluenceRules,
  wished: number,
  caps: WeightRecord['caps'],
): WeightRecord {
  const { jurisdiction, quality, below, peers } = one
  return {
    policy: INFLUENCE_POLICY,
    weighting: weightingText(weighting),
    claimed: one.languages.reduce((sum, language) => sum + language.tokens, 0),
    tokens: Object.values(tokens).reduce((sum, count) => sum + count, 0),
    languages: languageParts(tokens),
    jurisdiction,
    quality,
    below,
    ...(peers !== undefined && { peers }),
    wished,
    caps,
    counts,
  }
}

function reasonOf(
  { policy, weighting, below, peers, wished, caps, counts }: WeightRecord,
  value: number,
  among: number,
): string {
  if (below !== null) return `${policy}: below the quality floor: ${below}`.slice(0, LONGEST_REASON)
  const wish =
    weighting === 'uniform'
      ? `an equal share among ${among} contribution${among === 1 ? '' : 's'}`
      : `${percent(wished)} by ${weighting} among ${among}`
  const parts = [
    wish,
    ...(Math.abs(value - wished) > MET ? [moved(value, wished, caps)] : []),
    ...caps.filter(isRaised).map(raised),
    ...(peers === undefined ? [] : [peers]),
  ]
  if (!counts) parts.push('the strategy ignores weights: all that are merged count alike')
  return `${policy}: ${parts.join('; ')}`.slice(0, LONGEST_REASON)
}

function moved(value: number, wished: number, caps: WeightRecord['caps']): string {
  if (value > wished) return `raised to ${percent(value)} by what caps took from others`
  const [cap] = caps
  const because =
    cap === undefined ? 'caps that overlap' : `the cap of ${percent(cap.limit)} on ${cap.kind} ${cap.group}`
  return `lowered to ${percent(value)} by ${because}`
}

function isRaised({ asked, limit }: WeightRecord['caps'][number]): boolean {
  return limit > asked
}

function raised({ kind, asked, limit }: WeightRecord['caps'][number]): string {
  return `the cap of ${percent(asked)} a ${kind} cannot hold here and is ${percent(limit)}`
}

function percent(value: number): string {
  return `${(value * 100).toFixed(1)}%`
}
