/** Mean loss in nats per token with its standard error over sequences, over `tokens` held-out tokens. */
export type Score = { readonly mean: number; readonly standardError: number; readonly tokens: number }

/** Deviations of the paired differences from their mean: `steps[i] * unit` nats per token. */
export type Paired = { readonly unit: number; readonly steps: readonly number[] }

/** One text, scored by one party with base and candidate. */
export type Evidence = { readonly base: Score; readonly candidate: Score; readonly paired: Paired | null }

/** Draws whole numbers from 0 to `limit` - 1. */
export type Draws = { below(limit: number): number }

/** How much worse the candidate is, in nats per token, and the interval that holds the true value. */
export type Difference = {
  readonly method: 'bootstrap' | 'normal' | 'band'
  /** Sequences behind it; 0 for the band, which knows none. */
  readonly sequences: number
  readonly difference: number
  readonly low: number
  readonly high: number
}

/** One-sided confidence: one language in two hundred that did not change is blocked by chance. */
export const CONFIDENCE = 0.995
/** Width of the normal interval in standard errors: the 99.5 % quantile. */
export const NOISE_BAND = 2.576
/** Fewer sequences say too little about their own spread. */
const FEWEST_SEQUENCES = 8
/** Beyond this many the mean's distribution is normal for every purpose here, and resampling only costs time. */
const MOST_RESAMPLED = 4096
/** Resamples: fifty lie beyond the confidence. */
const RESAMPLES = 10_000

/**
 * The difference `candidate - base` over several texts, weighted by `share` (adding up to 1).
 *
 * Where every text tells its paired differences: the percentile interval of a paired bootstrap (Koehn
 * 2004, EMNLP; Efron and Tibshirani 1993, chapter 13), sequences resampled within each text, their
 * deviations widened by sqrt(n / (n - 1)) for the size of the sample. The pairing removes what the two
 * losses have in common, so that the interval is much narrower than that of two independent means.
 * Otherwise the band of two independent means: 2.576 sqrt(se_base^2 + se_candidate^2) (Welch 1947),
 * too wide because the texts are the same, so that small regressions pass rather than block by noise.
 */
export function differenceOf(texts: readonly Evidence[], shares: readonly number[], draws: Draws): Difference {
  const difference = weighted(texts, shares, ({ base, candidate }) => candidate.mean - base.mean)
  const strata = texts.flatMap(({ paired }, i) => (paired === null ? [] : [{ ...paired, share: shares[i] ?? 0 }]))
  const sequences = strata.reduce((sum, { steps }) => sum + steps.length, 0)
  if (strata.length < texts.length || sequences < FEWEST_SEQUENCES) {
    const error = Math.hypot(pooledError(texts, shares, 'base'), pooledError(texts, shares, 'candidate'))
    return around('band', 0, difference, NOISE_BAND * error)
  }
  if (sequences > MOST_RESAMPLED) return around('normal', sequences, difference, NOISE_BAND * pairedError(strata))
  const means = resampled(strata, draws)
  const beyond = Math.floor((1 - CONFIDENCE) * RESAMPLES)
  const low = difference + (means[beyond] ?? 0)
  const high = difference + (means[RESAMPLES - 1 - beyond] ?? 0)
  return { method: 'bootstrap', sequences, difference, low, high }
}

function around(method: 'normal' | 'band', sequences: number, difference: number, half: number): Difference {
  return { method, sequences, difference, low: difference - half, high: difference + half }
}

type Stratum = Paired & { readonly share: number }

/** Deviations of the mean in each resample, ascending. */
function resampled(strata: readonly Stratum[], draws: Draws): Float64Array {
  const means = new Float64Array(RESAMPLES)
  for (const { unit, steps, share } of strata) {
    const count = steps.length
    const centre = steps.reduce((sum, step) => sum + step, 0)
    const scale = (share * unit * Math.sqrt(count / (count - 1))) / count
    for (let resample = 0; resample < RESAMPLES; resample += 1) {
      let sum = 0
      for (let draw = 0; draw < count; draw += 1) sum += steps[draws.below(count)] ?? 0
      means[resample] = (means[resample] ?? 0) + scale * (sum - centre)
    }
  }
  return means.sort()
}

function pairedError(strata: readonly Stratum[]): number {
  const variance = strata.reduce((sum, { unit, steps, share }) => {
    const mean = steps.reduce((total, step) => total + step, 0) / steps.length
    const squares = steps.reduce((total, step) => total + (step - mean) ** 2, 0)
    return sum + (share * unit) ** 2 * (squares / (steps.length - 1) / steps.length)
  }, 0)
  return Math.sqrt(variance)
}

/** Pools scores of independent texts: the mean by share, the error as that of a weighted sum. */
export function pooled(texts: readonly Evidence[], shares: readonly number[], side: 'base' | 'candidate'): Score {
  return {
    mean: weighted(texts, shares, (text) => text[side].mean),
    standardError: pooledError(texts, shares, side),
    tokens: texts.reduce((sum, text) => sum + text[side].tokens, 0),
  }
}

function pooledError(texts: readonly Evidence[], shares: readonly number[], side: 'base' | 'candidate'): number {
  return Math.sqrt(texts.reduce((sum, text, i) => sum + ((shares[i] ?? 0) * text[side].standardError) ** 2, 0))
}

function weighted(texts: readonly Evidence[], shares: readonly number[], of: (text: Evidence) => number): number {
  return texts.reduce((sum, text, i) => sum + (shares[i] ?? 0) * of(text), 0)
}
