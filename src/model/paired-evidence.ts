import { z } from 'zod'

/** Most sequences of one language and community that a report tells. */
export const MOST_SEQUENCES = 512
/** Steps in a standard deviation: coarse enough that a value fits many sequences, fine enough for a bootstrap. */
const STEPS_PER_DEVIATION = 8
/** Beyond 64 standard deviations a sequence is told as 64. */
const MOST_STEPS = 64 * STEPS_PER_DEVIATION
const MOST_UNIT = 10_000

/**
 * How the losses of the same held-out sequences changed from base to candidate, around their mean:
 * `steps[i] * unit` nats per token above or below it, ascending. The mean itself stands in the
 * report's scores. Order, exact values and the mean of the losses are not told, so that nobody can
 * look up a text that he suspects by its loss; what is told is the shape of the spread.
 */
export type PairedEvidence = { readonly unit: number; readonly steps: readonly number[] }

export const pairedEvidenceSchema: z.ZodType<PairedEvidence> = z
  .strictObject({
    unit: z.number().min(0).max(MOST_UNIT),
    steps: z.array(z.int().min(-MOST_STEPS).max(MOST_STEPS)).min(2).max(MOST_SEQUENCES),
  })
  .refine(({ steps }) => steps.every((step, i) => i === 0 || step >= (steps[i - 1] ?? step)), 'steps are not in order')

/**
 * @param base and `candidate`: mean loss of each held-out sequence in nats per token, in the same order
 * @returns undefined when there are fewer than two sequences, unequal numbers, or losses that are not finite
 */
export function pairedEvidence(base: readonly number[], candidate: readonly number[]): PairedEvidence | undefined {
  if (base.length !== candidate.length || base.length < 2) return undefined
  const differences = candidate.slice(0, MOST_SEQUENCES).map((loss, i) => loss - (base[i] ?? Number.NaN))
  if (!differences.every(Number.isFinite)) return undefined
  const mean = differences.reduce((sum, value) => sum + value, 0) / differences.length
  const variance = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (differences.length - 1)
  const unit = Math.min(MOST_UNIT, Number((Math.sqrt(variance) / STEPS_PER_DEVIATION).toPrecision(3)))
  const steps = differences.map((value) => (unit === 0 ? 0 : stepOf((value - mean) / unit)))
  return { unit, steps: steps.sort((a, b) => a - b) }
}

/** The nearest whole number within bounds; never -0, which JSON cannot hold. */
function stepOf(value: number): number {
  return Math.max(-MOST_STEPS, Math.min(MOST_STEPS, Math.round(value))) + 0
}
