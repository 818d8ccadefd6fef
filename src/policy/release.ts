import { z } from 'zod'
import { CONFIDENCE, type Difference, type Draws, differenceOf, type Evidence, pooled, type Score } from './evidence.ts'
import { withoutExtremes } from './voices.ts'

export type { Score } from './evidence.ts'

/** Names the rules of the gate, so that an old decision can be read by its own. */
export const RELEASE_POLICY = 'release/2'
/** Who the operator's own measurements are by. */
const COORDINATOR = 'coordinator'

/** Base and candidate on one text, as one party measured them. */
export type Measurement = Evidence & {
  /** BCP-47 tag. */
  readonly language: string
  /** Empty when none is declared. */
  readonly community: string
  /** Node id, or `coordinator`. */
  readonly measuredBy: string
  /** Whose word it is: the node's member. Many nodes of one member are one voice. */
  readonly voice: string
}

/** What the gate goes by. */
export type GateRules = {
  /** A group with fewer held-out tokens is unmeasured. */
  readonly minTokens: number
  /** Most held-out tokens that one text's claim counts for: what the plan's evaluation reads. */
  readonly mostTokens: number
  /** Languages that the round was trained on: those without scores are unmeasured. */
  readonly trained: readonly string[]
  /** Draws for one group, the same whenever it is decided. */
  readonly draws: (group: string) => Draws
}

const scoreSchema = z.strictObject({ mean: z.number(), standardError: z.number(), tokens: z.number() })

const verdictSchema = z.strictObject({
  language: z.string(),
  /** Empty for the language over all of its communities. */
  community: z.string(),
  verdict: z.enum(['better', 'same', 'worse', 'unmeasured']),
  /** Pooled over those who were heard; null when nobody measured. */
  base: scoreSchema.nullable(),
  candidate: scoreSchema.nullable(),
  /** Sorted, each once. */
  measuredBy: z.array(z.string()),
  /** Of measuredBy: whose reports lay furthest apart and were not pooled. */
  leftOut: z.array(z.string()),
  /** Candidate minus base; null when unmeasured. */
  evidence: z
    .strictObject({
      method: z.enum(['bootstrap', 'normal', 'band']),
      sequences: z.int(),
      difference: z.number(),
      low: z.number(),
      high: z.number(),
    })
    .nullable(),
})

/** What the gate found about one language, or one community of it. */
export type Verdict = z.output<typeof verdictSchema>

/** A decision as it is kept: verdicts in order of language and community. */
export const gateRecordSchema = z.strictObject({
  policy: z.string(),
  confidence: z.number(),
  languages: z.array(verdictSchema),
  communities: z.array(verdictSchema),
})

export type GateRecord = z.output<typeof gateRecordSchema>

/** `reason`: why it is refused; null when it is released. */
export type ReleaseDecision = { readonly release: boolean; readonly reason: string | null; readonly record: GateRecord }

/** A uniform guess over the largest vocabulary costs under 20 nats a token: beyond this a number would only overflow sums. */
const MOST_NATS = 10_000
/** A refusal names at most this many groups; the record says the rest. */
const MOST_NAMED = 5

/**
 * The release gate: a candidate is released only when at least one language was measured, and no
 * language and no community got worse beyond its noise ({@link differenceOf}).
 *
 * Who is heard: where the operator's public sets measured a language, they alone decide about it.
 * Otherwise every member is one voice; of three and more, a third is left out at each end (those who
 * report the greatest gain and the greatest loss), so that fewer than a third who lie neither block
 * nor pass a release alone. One or two voices are taken at their word: nobody else can check them.
 * Without any measurement, or with one that is not sound, nothing is released.
 */
export function decideRelease(measurements: readonly Measurement[], rules: GateRules): ReleaseDecision {
  const ordered = inFixedOrder(measurements)
  const unsound = ordered.find((one) => !isSound(one.base) || !isSound(one.candidate))
  if (unsound !== undefined) {
    const reason = `the scores of ${unsound.measuredBy} for ${unsound.language} are not sound numbers`
    return refusal(reason, { policy: RELEASE_POLICY, confidence: CONFIDENCE, languages: [], communities: [] })
  }
  const record = recordOf(ordered, rules)
  const all = [...record.languages, ...record.communities]
  if (record.languages.every(({ verdict }) => verdict === 'unmeasured')) {
    return refusal(
      ordered.length === 0 ? 'nobody measured the candidate' : 'too little text measured the candidate',
      record,
    )
  }
  const worse = all.filter(({ verdict }) => verdict === 'worse')
  if (worse.length > 0) return refusal(explain(worse), record)
  return { release: true, reason: null, record }
}

/** Scores of each language as they stand before the decision, for people: everybody's, by their tokens. */
export function poolScores(measurements: readonly Measurement[]) {
  return [...grouped(inFixedOrder(measurements), ({ language }) => language)].map(([language, rows]) => {
    const tokens = rows.reduce((sum, { base }) => sum + base.tokens, 0)
    const shares = rows.map(({ base }) => base.tokens / tokens)
    const scores = { base: pooled(rows, shares, 'base'), candidate: pooled(rows, shares, 'candidate') }
    return { language, ...scores, measuredBy: namesOf(rows) }
  })
}

function refusal(reason: string, record: GateRecord): ReleaseDecision {
  return { release: false, reason, record }
}

function recordOf(ordered: readonly Measurement[], rules: GateRules): GateRecord {
  const languages = grouped(ordered, ({ language }) => language)
  const unheard = rules.trained.filter((tag) => !languages.has(tag))
  const whole = [...languages].map(([language, rows]) => verdictOf(language, '', rows, rules))
  const missing = [...new Set(unheard)].map((language) => unmeasured(language, '', [], []))
  const declared = ordered.filter(({ community }) => community !== '')
  const parts = [...grouped(declared, ({ language, community }) => JSON.stringify([language, community])).values()]
  return {
    policy: RELEASE_POLICY,
    confidence: CONFIDENCE,
    languages: [...whole, ...missing].sort((a, b) => order(a.language, b.language)),
    communities: parts.map((rows) => verdictOf(rows[0]?.language ?? '', rows[0]?.community ?? '', rows, rules)),
  }
}

function verdictOf(language: string, community: string, rows: readonly Measurement[], rules: GateRules): Verdict {
  const official = rows.filter(({ measuredBy }) => measuredBy === COORDINATOR)
  const heard = official.length > 0 ? official : middleVoices(rows, rules.mostTokens)
  const leftOut = official.length > 0 ? [] : rows.filter((row) => !heard.includes(row))
  const weights = heard.map((row) => countedTokens(row, rules.mostTokens))
  const tokens = weights.reduce((sum, count) => sum + count, 0)
  if (tokens < rules.minTokens) return unmeasured(language, community, heard, leftOut)
  const shares = weights.map((count) => count / tokens)
  const evidence = differenceOf(heard, shares, rules.draws(JSON.stringify([language, community])))
  const scores = { base: pooled(heard, shares, 'base'), candidate: pooled(heard, shares, 'candidate') }
  const whom = { measuredBy: namesOf([...heard, ...leftOut]), leftOut: namesOf(leftOut) }
  return { language, community, verdict: judged(evidence), ...scores, ...whom, evidence }
}

function unmeasured(
  language: string,
  community: string,
  heard: readonly Measurement[],
  leftOut: readonly Measurement[],
): Verdict {
  const whom = { measuredBy: namesOf([...heard, ...leftOut]), leftOut: namesOf(leftOut) }
  return { language, community, verdict: 'unmeasured', base: null, candidate: null, ...whom, evidence: null }
}

function judged({ low, high }: Difference): Verdict['verdict'] {
  if (!(low <= 0)) return 'worse'
  return high < 0 ? 'better' : 'same'
}

/** The rows of the voices that are neither among the highest nor the lowest third. */
function middleVoices(rows: readonly Measurement[], mostTokens: number): readonly Measurement[] {
  const voices = [...grouped(rows, ({ voice }) => voice)].map(([voice, texts]) => {
    const tokens = texts.reduce((sum, text) => sum + countedTokens(text, mostTokens), 0)
    const change = (text: Measurement) => text.candidate.mean - text.base.mean
    const mean = texts.reduce((sum, text) => sum + (countedTokens(text, mostTokens) / tokens) * change(text), 0)
    return { voice, change: mean }
  })
  const kept = new Set(withoutExtremes(voices).map(({ voice }) => voice))
  return rows.filter(({ voice }) => kept.has(voice))
}

function countedTokens({ base }: Measurement, most: number): number {
  return Math.min(base.tokens, most)
}

function namesOf(rows: readonly Measurement[]): string[] {
  return [...new Set(rows.map(({ measuredBy }) => measuredBy))].sort()
}

function isSound({ mean, standardError, tokens }: Score): boolean {
  return isNats(mean) && isNats(standardError) && Number.isSafeInteger(tokens) && tokens > 0
}

/** False for NaN too. */
function isNats(number: number): boolean {
  return number >= 0 && number <= MOST_NATS
}

function grouped<T>(rows: readonly T[], keyOf: (row: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const row of rows) groups.set(keyOf(row), [...(groups.get(keyOf(row)) ?? []), row])
  return groups
}

/** By group, party and then every number: measurements that compare equal are interchangeable. */
function inFixedOrder(measurements: readonly Measurement[]): Measurement[] {
  return [...measurements].sort(
    (a, b) =>
      order(a.language, b.language) ||
      order(a.community, b.community) ||
      order(a.measuredBy, b.measuredBy) ||
      order(a.voice, b.voice) ||
      orderScores(a.base, b.base) ||
      orderScores(a.candidate, b.candidate) ||
      order(JSON.stringify(a.paired), JSON.stringify(b.paired)),
  )
}

function orderScores(a: Score, b: Score): number {
  return order(a.mean, b.mean) || order(a.standardError, b.standardError) || order(a.tokens, b.tokens)
}

function order<T extends string | number>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function explain(worse: readonly Verdict[]): string {
  const named = worse.slice(0, MOST_NAMED).map(explainOne)
  const rest = worse.length - named.length
  return `${named.join('; ')}${rest > 0 ? `; and ${rest} more` : ''}`
}

function explainOne({ language, community, evidence }: Verdict): string {
  const name = community === '' ? language : `${community} (${language})`
  const [difference, low] = [evidence?.difference ?? 0, evidence?.low ?? 0]
  return `${name} got worse by ${difference.toFixed(4)} nats a token, at least ${low.toFixed(4)} at ${CONFIDENCE * 100}% confidence`
}
