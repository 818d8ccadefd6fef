import type { Diagnostics } from './diagnostics.ts'

/** Names the formula, so that an old account can be read by its own. */
export const EFFECT_METHOD = 'cosine/1'

/** How much of a node's contribution was trained on which language: parts that add up to 1. */
export type Trained = ReadonlyMap<string, Readonly<Record<string, number>>>

/** By node, then by language: nats per token of held-out text, below 0 where it helped. */
export type LanguageEffects = ReadonlyMap<string, ReadonlyMap<string, number>>

/** Where parts cancel each other almost, shares of what remains would be many times the whole: nothing is said then. */
const LEAST_NET = 0.1

/**
 * Estimates, from what a merge already says, which part each contribution has in how each language changed. It is an
 * estimate to first order: no model without the contribution was made or scored.
 *
 * The direction of a language is u = sum over j of s_j d_j / |d_j|, where s_j is the part of contribution j that was
 * trained on it. Contribution i, merged with the factor c_i, moved the model along it by p_i = c_i <d_i, u> =
 * c_i |d_i| (sum over j of s_j cos(d_i, d_j)), and is given the share p_i / (sum of all p) of the measured change: the
 * effects of all contributions add up to it. docs/ACCOUNTING.md says what that can and cannot tell.
 *
 * @param changes measured change of the loss by language: candidate minus base
 * @returns nothing for a merge whose contributions were not compared, or that has no factors (order statistics)
 */
export function languageEffects(
  { contributions, cosines }: Diagnostics,
  trained: Trained,
  changes: ReadonlyMap<string, number>,
): LanguageEffects {
  const effects = new Map(contributions.map(({ node }) => [node, new Map<string, number>()]))
  if (cosines === null || contributions.some(({ coefficient }) => coefficient === null)) return effects
  for (const [language, change] of changes) {
    const shares = contributions.map(({ node }) => trained.get(node)?.[language] ?? 0)
    const parts = contributions.map(({ coefficient, norm }, i) => {
      const along = shares.reduce((sum, share, j) => sum + share * (cosines[i]?.[j] ?? 0), 0)
      return (coefficient ?? 0) * norm * along
    })
    const net = parts.reduce((sum, part) => sum + part, 0)
    const gross = parts.reduce((sum, part) => sum + Math.abs(part), 0)
    if (gross === 0 || Math.abs(net) < LEAST_NET * gross) continue
    for (const [i, { node }] of contributions.entries()) {
      effects.get(node)?.set(language, ((parts[i] ?? 0) / net) * change)
    }
  }
  return effects
}
