import { z } from 'zod'
import { medianOf, OUTLIER_SCORE, robustScores } from '../core/robust-scores.ts'
import type { RoundResult } from './merge-round.ts'

const finite = z.number()
const count = z.int().min(0)

const contributionSchema = z.strictObject({
  node: z.string(),
  /** Euclidean norm of the delta. */
  norm: finite,
  /** What the merge multiplied the delta by; null for order statistics, which have no such numbers. */
  coefficient: finite.nullable(),
  /** Cosine of its angle to the change of the model. */
  cosine: finite,
  /** How much of the delta is in the change of the model: its projection, in units of the delta. */
  retained: finite,
  /** Robust z-score of the norm. */
  normScore: finite,
  /** Mean cosine with the other contributions; null when they were not compared. */
  agreement: finite.nullable(),
  /** Robust z-score of the agreement; 0 when there is none. */
  agreementScore: finite,
  /** Whether one of the scores is beyond the limit, by a difference that is not negligible. */
  outlier: z.boolean(),
})

/** What the arithmetic of a merge says about its contributions, for people: nothing is decided by it. */
export const diagnosticsSchema = z.strictObject({
  /** Euclidean norm of the change of the model. */
  deltaNorm: finite,
  /** Elements of the model. */
  elements: count,
  /** Elements that the cosines between contributions were taken over: all, or evenly spaced tiles; 0 without. */
  comparedElements: count,
  /** In order of node id. */
  contributions: z.array(contributionSchema),
  /** Cosine of each contribution with each; null when they were not compared. */
  cosines: z.array(z.array(finite)).nullable(),
})

export type Diagnostics = z.output<typeof diagnosticsSchema>

/** Where contributions hardly differ the MAD is close to 0 and any difference scores high: smaller ones are no finding. */
const LEAST_NORM_RATIO = 0.1
const LEAST_COSINE_DIFFERENCE = 0.1

/**
 * Puts together what is stored of a merge.
 * @param nodes who made each delta, in the order of the merge
 */
export function diagnose(nodes: readonly string[], merged: RoundResult): Diagnostics {
  const { norms, dots } = merged
  const cosines = dots === undefined ? null : cosineMatrix(dots.count, dots.of)
  const agreements = cosines?.map(meanOfOthers)
  const normScores = robustScores(norms)
  const agreementScores = agreements === undefined ? norms.map(() => 0) : robustScores(agreements)
  const [usualNorm, usualAgreement] = [medianOf(norms), medianOf(agreements ?? [])]
  const contributions = nodes.map((node, i) => {
    const [normScore, agreementScore] = [normScores[i] ?? 0, agreementScores[i] ?? 0]
    return {
      node,
      norm: norms[i] ?? 0,
      coefficient: merged.coefficients?.[i] ?? null,
      cosine: merged.cosines[i] ?? 0,
      retained: merged.retained[i] ?? 0,
      normScore,
      agreement: agreements?.[i] ?? null,
      agreementScore,
      outlier:
        isFar(normScore, (norms[i] ?? 0) - usualNorm, LEAST_NORM_RATIO * usualNorm) ||
        isFar(agreementScore, (agreements?.[i] ?? 0) - usualAgreement, LEAST_COSINE_DIFFERENCE),
    }
  })
  const { deltaNorm, elements } = merged
  return { deltaNorm, elements, comparedElements: dots?.elements ?? 0, contributions, cosines }
}

function isFar(score: number, difference: number, least: number): boolean {
  return Math.abs(score) > OUTLIER_SCORE && Math.abs(difference) > least
}

/** Cosines of all pairs from their dot products; 0 where one is zero. */
export function cosineMatrix(size: number, of: (i: number, j: number) => number): number[][] {
  const numbers = Array.from({ length: size }, (_, i) => i)
  return numbers.map((i) =>
    numbers.map((j) => {
      const scale = Math.sqrt(of(i, i)) * Math.sqrt(of(j, j))
      return scale === 0 ? 0 : Math.max(-1, Math.min(1, of(i, j) / scale))
    }),
  )
}

function meanOfOthers(row: readonly number[], own: number): number {
  const others = row.filter((_, i) => i !== own)
  return others.length === 0 ? 0 : others.reduce((sum, value) => sum + value, 0) / others.length
}
