/** A figure that was measured several times. All in the unit of the samples. */
export type Spread = { readonly median: number; readonly least: number; readonly most: number; readonly count: number }

/** Fewest repetitions of a figure that is published; `--quick` takes one, and publishes nothing. */
export const REPETITIONS = 5

/** The middle sample, or the mean of the two in the middle; with the extremes. @throws RangeError without samples. */
export function spreadOf(samples: readonly number[]): Spread {
  if (samples.length === 0) throw new RangeError('nothing was measured')
  const sorted = samples.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half]!
  const median = sorted.length % 2 === 1 ? upper : (sorted[half - 1]! + upper) / 2
  return { median, least: sorted[0]!, most: sorted.at(-1)!, count: sorted.length }
}

/** Seconds that `work` took. */
export async function secondsOf(work: () => unknown): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}
