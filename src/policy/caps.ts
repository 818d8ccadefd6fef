import { CAP_KINDS, type CapKind, type Caps } from '../core/influence-choice.ts'
import { compareText } from '../core/order.ts'
import { type Bound, nearestShares } from './nearest-shares.ts'

/** Which groups of each kind a contribution belongs to, and with how much of it: its parts of a kind add up to at most 1. */
export type Belonging = Readonly<Record<CapKind, Readonly<Record<string, number>>>>

/** Shares, and the cap that was kept for each kind: what was asked, or more where that could not hold. */
export type CappedShares = { readonly shares: readonly number[]; readonly kept: Caps }

/** Halvings of the interval in which the least possible cap is looked for: to within 1e-9. */
const HALVINGS = 30

/**
 * The shares nearest to the wished ones under the caps (see {@link nearestShares}). Caps are put on
 * in the order node, member, jurisdiction, language. One that cannot hold, by itself or beside those
 * before it, is raised to the least that can: `1 / groups` where that suffices, else the least that a
 * bisection finds, and to 1 where rounding hides even that. So a cap is never broken silently, and an earlier one
 * never gives way to a later.
 * @param wished above 0, adding up to 1; where there are caps, no wish counts for less than a millionth of the largest
 */
export function sharesUnderCaps(wished: readonly number[], belongings: readonly Belonging[], caps: Caps): CappedShares {
  const kept = { ...caps }
  let shares: readonly number[] = wished
  const wish = raised(wished)
  let bounds: readonly Bound[] = []
  for (const kind of CAP_KINDS) {
    if (caps[kind] >= 1) continue
    const groups = groupsOf(kind, belongings)
    const limited = (limit: number) => [...bounds, ...groups.map((group): Bound => ({ ...group, limit }))]
    const limit = leastLimit(caps[kind], groups.length, (each) => nearestShares(wish, limited(each)) !== undefined)
    const found = nearestShares(wish, limited(limit))
    kept[kind] = found === undefined ? 1 : limit
    if (found === undefined) continue
    bounds = limited(limit)
    shares = found
  }
  return { shares, kept }
}

/** Least wish beside the largest: what is next to nothing could only take part in rounding. */
const LEAST_WISH = 1e-6

function raised(wished: readonly number[]): readonly number[] {
  const least = LEAST_WISH * wished.reduce((most, share) => Math.max(most, share), 0)
  if (wished.every((share) => share >= least)) return wished
  const wish = wished.map((share) => Math.max(share, least))
  const total = wish.reduce((sum, share) => sum + share, 0)
  return wish.map((share) => share / total)
}

/** What a group of each kind has of the shares, as its cap counts it. */
export function groupTotals(kind: CapKind, belongings: readonly Belonging[], shares: readonly number[]) {
  const totals = new Map<string, number>()
  belongings.forEach((one, i) => {
    for (const [group, part] of Object.entries(one[kind])) {
      totals.set(group, (totals.get(group) ?? 0) + part * (shares[i] ?? 0))
    }
  })
  return totals
}

function leastLimit(asked: number, groups: number, holds: (limit: number) => boolean): number {
  if (holds(asked)) return asked
  const even = 1 / groups
  if (even > asked && holds(even)) return even
  let [low, high] = [Math.max(asked, Math.min(1, even)), 1]
  for (let halving = 0; halving < HALVINGS; halving += 1) {
    const middle = (low + high) / 2
    if (holds(middle)) high = middle
    else low = middle
  }
  return high
}

/** Groups in order of name. */
function groupsOf(kind: CapKind, belongings: readonly Belonging[]): Omit<Bound, 'limit'>[] {
  const groups = new Map<string, { members: number[]; parts: number[] }>()
  belongings.forEach((one, i) => {
    for (const [name, part] of Object.entries(one[kind])) {
      if (part <= 0) continue
      const group = groups.get(name) ?? { members: [], parts: [] }
      group.members.push(i)
      group.parts.push(part)
      groups.set(name, group)
    }
  })
  return [...groups].sort(([a], [b]) => compareText(a, b)).map(([, group]) => group)
}
