import type { Weighting } from '../core/influence-choice.ts'
import { compareText } from '../core/order.ts'

/** What a wish is made from: counted tokens by language, and what the contribution gained on public sets, in nats per token. */
export type Holding = {
  readonly tokens: Readonly<Record<string, number>>
  /** Null when no public set measured it. */
  readonly quality: number | null
}

/**
 * Shares before caps, not negative, adding up to 1, in the order of the holdings. Where a rule says
 * nothing (no tokens at all, no gain at all) everybody is wished the same.
 */
export function wishedShares(weighting: Weighting, holdings: readonly Holding[]): number[] {
  return normalised(scoresOf(weighting, holdings))
}

function scoresOf(weighting: Weighting, holdings: readonly Holding[]): number[] {
  switch (weighting.name) {
    case 'uniform':
      return holdings.map(() => 1)
    case 'tokens':
      return holdings.map(({ tokens }) => sum(Object.values(tokens)))
    case 'quality':
      return gainsOf(holdings)
    case 'tempered':
      return byLanguage(holdings, (sizes) => temperedShares(sizes, weighting.parameters.alpha))
    case 'unimax':
      return byLanguage(holdings, (sizes) => unimaxShares(sizes, weighting.parameters.epochs))
  }
}

/** A contribution that no public set measured counts as the median of those that were. */
function gainsOf(holdings: readonly Holding[]): number[] {
  const known = holdings
    .flatMap(({ quality }) => (quality === null ? [] : [Math.max(0, quality)]))
    .sort((a, b) => a - b)
  const middle = ((known[(known.length - 1) >> 1] ?? 0) + (known[known.length >> 1] ?? 0)) / 2
  return holdings.map(({ quality }) => (quality === null ? middle : Math.max(0, quality)))
}

/** A language's share goes to those who read it, by their tokens of it. */
function byLanguage(
  holdings: readonly Holding[],
  sharesOf: (sizes: ReadonlyMap<string, number>) => ReadonlyMap<string, number>,
): number[] {
  const sizes = new Map<string, number>()
  for (const { tokens } of holdings) {
    for (const [tag, count] of Object.entries(tokens)) if (count > 0) sizes.set(tag, (sizes.get(tag) ?? 0) + count)
  }
  const shares = sharesOf(new Map([...sizes].sort(([a], [b]) => compareText(a, b))))
  return holdings.map(({ tokens }) => {
    const tags = Object.keys(tokens).sort()
    return sum(tags.map((tag) => ((shares.get(tag) ?? 0) * (tokens[tag] ?? 0)) / (sizes.get(tag) ?? 1)))
  })
}

/**
 * q_l = p_l^alpha / sum p^alpha: alpha 1 keeps the languages' shares of tokens, 0 makes them equal.
 * Conneau et al. 2020 (arXiv:1911.02116), section 3.1.
 */
export function temperedShares(sizes: ReadonlyMap<string, number>, alpha: number): Map<string, number> {
  const total = sum([...sizes.values()])
  const powers = [...sizes].map(([tag, size]): [string, number] => [tag, (size / total) ** alpha])
  const scale = sum(powers.map(([, power]) => power))
  return new Map(powers.map(([tag, power]) => [tag, power / scale]))
}

/**
 * UniMax: from the smallest language to the largest, each takes an equal part of what is left of the
 * budget, but at most `epochs` times its tokens. Chung et al. 2023 (arXiv:2304.09151), algorithm 1,
 * with the tokens of the round as the budget and each language's tokens in it as its corpus.
 */
export function unimaxShares(sizes: ReadonlyMap<string, number>, epochs: number): Map<string, number> {
  const total = sum([...sizes.values()])
  const ascending = [...sizes].sort(([a, x], [b, y]) => x - y || compareText(a, b))
  let rest = total
  const taken = ascending.map(([tag, size], index): [string, number] => {
    const part = Math.min(rest / (ascending.length - index), epochs * size)
    rest -= part
    return [tag, part / total]
  })
  return new Map(taken)
}

function normalised(scores: readonly number[]): number[] {
  const total = sum(scores)
  return scores.map((score) => (total > 0 ? score / total : 1 / scores.length))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
