import { medianOf, OUTLIER_SCORE, robustScores } from '../core/robust-scores.ts'
import { CONFIDENCE, type Draws, differenceOf, type Evidence } from './evidence.ts'

/** A contribution as the floor sees it. */
export type Judged = {
  readonly node: string
  /** Euclidean norm of the delta. */
  readonly norm: number
  /** When it was accepted: of two that are the same, the first is the original. */
  readonly acceptedAt: number
}

/** A delta must be more than so many times as long as the median: honest ones differ with their text. */
const LONG = 2
/** A sign flip points as far against the others as they agree; noise and rare languages stay near to 0. */
const AGAINST = 0.5
/** Contributions that agree less than this have no direction to point against: by chance alone cosines are not 0. */
const LEAST_AGREEMENT = 0.03
/** Two trainings never point the same way to this: only a copy does. */
const SAME = 0.9999
/** Fewer contributions have no usual norm or direction. */
const FEWEST_COMPARED = 3

/**
 * The floor `norms`: what arithmetic alone can tell. Below it is a delta that changes nothing, one
 * that is another's (the one accepted later), one far longer than the others (a robust z-score beyond
 * 3.5 and more than twice the median), and one that points against them (a robust z-score of its mean
 * cosine below -3.5, and the cosine itself more than half as far below 0 as the usual one is above, where that is
 * more than chance).
 * Being merely different is never below it: a node with a language of its own is at right angles to
 * the rest, within chance.
 * @param cosines of each with each, in the order of the contributions; null when they were not compared
 * @returns for each contribution why it is below, or null
 */
export function judgeNorms(
  contributions: readonly Judged[],
  cosines: readonly (readonly number[])[] | null,
): (string | null)[] {
  const norms = contributions.map(({ norm }) => norm)
  const usual = medianOf(norms)
  const normScores = robustScores(norms)
  const agreements = cosines?.map((row, i) => meanWithout(row, i)) ?? null
  const agreementScores = agreements === null ? norms.map(() => 0) : robustScores(agreements)
  const usualAgreement = medianOf(agreements ?? [])
  const compared = contributions.length >= FEWEST_COMPARED
  return contributions.map((one, i) => {
    if (one.norm === 0) return 'it changes nothing: a copy of its base'
    const original = cosines === null ? undefined : originalOf(i, contributions, cosines)
    if (original !== undefined) return `it is the contribution of ${original} once more`
    if (!compared) return null
    if (normScores[i]! > OUTLIER_SCORE && one.norm > LONG * usual) {
      return `its norm is ${(one.norm / usual).toFixed(1)} times the median`
    }
    const agreement = agreements?.[i] ?? 0
    const against = usualAgreement >= LEAST_AGREEMENT && agreement < -AGAINST * usualAgreement
    if (against && agreementScores[i]! < -OUTLIER_SCORE) {
      return `it points against the others: mean cosine ${agreement.toFixed(3)}`
    }
    return null
  })
}

function originalOf(
  i: number,
  contributions: readonly Judged[],
  cosines: readonly (readonly number[])[],
): string | undefined {
  const own = contributions[i]!
  const original = contributions.find((other, j) => j !== i && cosines[i]![j]! > SAME && isBefore(other, own))
  return original?.node
}

function isBefore(a: Judged, b: Judged): boolean {
  return a.acceptedAt < b.acceptedAt || (a.acceptedAt === b.acceptedAt && a.node < b.node)
}

function meanWithout(row: readonly number[], own: number): number {
  const others = row.filter((_, i) => i !== own)
  return others.length === 0 ? 0 : others.reduce((sum, value) => sum + value, 0) / others.length
}

/**
 * `quality`: gain in nats per token, null when nothing measured it. `below`: why it is below the floor, or null.
 * `peers`: what reviewers made of it, in a sentence; only where they were asked.
 */
export type QualityVerdict = {
  readonly quality: number | null
  readonly below: string | null
  readonly peers?: string | undefined
}

/**
 * The floor `public`: base against base plus the contribution alone, on the operator's sets of the
 * languages that the contribution names, each counting alike. Below it is what makes them worse
 * beyond the noise of {@link differenceOf}. Other languages are not looked at: a node's own delta may
 * forget them, which the merge mends and the release gate checks.
 */
export function judgePublic(texts: readonly Evidence[], draws: Draws): QualityVerdict {
  if (texts.length === 0) return { quality: null, below: null }
  const shares = texts.map(() => 1 / texts.length)
  return judgeTexts(texts, shares, draws, 'on public sets')
}

/** Below the floor is what makes texts worse beyond noise. @param shares add up to 1 @param where the texts are, in words */
export function judgeTexts(
  texts: readonly Evidence[],
  shares: readonly number[],
  draws: Draws,
  where: string,
): QualityVerdict {
  const { difference, low } = differenceOf(texts, shares, draws)
  const quality = -difference
  if (low <= 0) return { quality, below: null }
  const sure = `at least ${low.toFixed(4)} at ${CONFIDENCE * 100}% confidence`
  return {
    quality,
    below: `it makes its languages worse by ${difference.toFixed(4)} nats a token ${where}, ${sure}`,
  }
}
