/** The normal distribution's: MAD / 0.6745 and 1.253314 times the mean deviation estimate its standard deviation. */
const MAD_SCALE = 0.6745
const MEAN_DEVIATION_SCALE = 1.253314

/** Iglewicz and Hoaglin 1993 (How to Detect and Handle Outliers, section 3.3) advise 3.5. */
export const OUTLIER_SCORE = 3.5

/**
 * Robust z-scores: 0.6745 (x - median) / MAD; by the mean absolute deviation where more than half are
 * equal, and 0 where all are. Iglewicz and Hoaglin 1993, section 3.3.
 */
export function robustScores(values: readonly number[]): number[] {
  const middle = medianOf(values)
  const deviations = values.map((value) => Math.abs(value - middle))
  const mad = medianOf(deviations)
  const mean = deviations.reduce((sum, value) => sum + value, 0) / deviations.length
  const unit = mad > 0 ? mad / MAD_SCALE : mean * MEAN_DEVIATION_SCALE
  return values.map((value) => {
    const score = (value - middle) / unit
    return Number.isFinite(score) ? score : 0
  })
}

/** The median, 0 of nothing; halves are added, so that it never overflows. */
export function medianOf(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const half = sorted.length >> 1
  const [low, high] = [sorted[sorted.length - 1 - half] ?? 0, sorted[half] ?? 0]
  return low / 2 + high / 2
}
