/** Mean loss in nats per token with its standard error over sequences, over `tokens` held-out tokens. */
export type Score = { readonly mean: number; readonly standardError: number; readonly tokens: number }

/** Base and candidate on one language, as one party measured them on the same text. */
export type Measurement = {
  /** BCP-47 tag. */
  readonly language: string
  /** Node id, or `coordinator`. */
  readonly measuredBy: string
  readonly base: Score
  readonly candidate: Score
}

/** A language's scores over everybody who measured it. */
export type LanguageScore = {
  readonly language: string
  readonly base: Score
  readonly candidate: Score
  /** Sorted, each once. */
  readonly measuredBy: readonly string[]
}

export type ReleaseDecision =
  | { readonly release: true; readonly languages: readonly LanguageScore[] }
  | { readonly release: false; readonly reason: string; readonly languages: readonly LanguageScore[] }

/**
 * Width of the noise band in standard errors: the two-sided 99 % quantile of the normal
 * distribution. One language in two hundred that did not change is then blocked by chance.
 */
export const NOISE_BAND = 2.576

/** A uniform guess over the largest vocabulary costs under 20 nats a token: beyond this a number would only overflow sums. */
const MOST_NATS = 10_000

/** A refusal names at most this many languages; the scores say the rest. */
const MOST_NAMED = 5

/**
 * The release gate: a candidate is released only when no language got worse than its noise band.
 * A language is worse when `candidate - base > 2.576 * sqrt(se_base^2 + se_candidate^2)`, the test
 * for two independent means (Welch 1947). The two were measured on the same sequences, so their
 * errors are correlated and the true band of the difference is narrower: a paired test would be
 * finer, but needs every sequence's loss, which would tell the coordinator more about the text than
 * two numbers do. The gate therefore lets small regressions pass rather than block by noise.
 * Without any measurement, or with one that is not sound, nothing is released.
 */
export function decideRelease(measurements: readonly Measurement[]): ReleaseDecision {
  const unsound = inFixedOrder(measurements).find((one) => !isSound(one.base) || !isSound(one.candidate))
  if (unsound !== undefined) {
    const reason = `the scores of ${unsound.measuredBy} for ${unsound.language} are not sound numbers`
    return { release: false, reason, languages: [] }
  }
  const languages = poolScores(measurements)
  if (languages.length === 0) return { release: false, reason: 'nobody measured the candidate', languages }
  const worse = languages.filter(gotWorse)
  if (worse.length > 0) return { release: false, reason: explain(worse), languages }
  return { release: true, languages }
}

/**
 * Pools scores per language: the mean is weighted by tokens, `sum(t_i m_i) / sum(t_i)`; the parties
 * measured different texts, so their errors are independent: `SE = sqrt(sum((t_i / T)^2 se_i^2))`.
 * The sums run in a fixed order, so that the same measurements give the same bits in any order.
 * @returns one entry a language, sorted by tag.
 */
export function poolScores(measurements: readonly Measurement[]): LanguageScore[] {
  const byLanguage = new Map<string, Measurement[]>()
  for (const one of inFixedOrder(measurements)) {
    const group = byLanguage.get(one.language)
    if (group === undefined) byLanguage.set(one.language, [one])
    else group.push(one)
  }
  return [...byLanguage].map(([language, group]) => ({
    language,
    base: pool(group.map((one) => one.base)),
    candidate: pool(group.map((one) => one.candidate)),
    measuredBy: [...new Set(group.map((one) => one.measuredBy))],
  }))
}

function pool(scores: readonly Score[]): Score {
  const tokens = scores.reduce((sum, score) => sum + score.tokens, 0)
  let mean = 0
  let variance = 0
  for (const score of scores) {
    const share = score.tokens / tokens
    mean += share * score.mean
    variance += (share * score.standardError) ** 2
  }
  return { mean, standardError: Math.sqrt(variance), tokens }
}

function gotWorse({ base, candidate }: LanguageScore): boolean {
  return !(candidate.mean - base.mean <= band(base, candidate))
}

function band(base: Score, candidate: Score): number {
  return NOISE_BAND * Math.hypot(base.standardError, candidate.standardError)
}

function isSound({ mean, standardError, tokens }: Score): boolean {
  return isNats(mean) && isNats(standardError) && Number.isSafeInteger(tokens) && tokens > 0
}

/** False for NaN too. */
function isNats(number: number): boolean {
  return number >= 0 && number <= MOST_NATS
}

/** By language, party and then every number: measurements that compare equal are interchangeable. */
function inFixedOrder(measurements: readonly Measurement[]): Measurement[] {
  return [...measurements].sort(
    (a, b) =>
      order(a.language, b.language) ||
      order(a.measuredBy, b.measuredBy) ||
      orderScores(a.base, b.base) ||
      orderScores(a.candidate, b.candidate),
  )
}

function orderScores(a: Score, b: Score): number {
  return order(a.mean, b.mean) || order(a.standardError, b.standardError) || order(a.tokens, b.tokens)
}

function order<T extends string | number>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function explain(worse: readonly LanguageScore[]): string {
  const named = worse.slice(0, MOST_NAMED).map(explainOne)
  const rest = worse.length - named.length
  return `${named.join('; ')}${rest > 0 ? `; and ${rest} more` : ''}`
}

function explainOne({ language, base, candidate }: LanguageScore): string {
  const difference = (candidate.mean - base.mean).toFixed(4)
  const allowed = band(base, candidate).toFixed(4)
  return `${language} got worse by ${difference} nats per token, its noise band is ${allowed}`
}
