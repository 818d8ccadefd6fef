import { compareText } from '../core/order.ts'

/** A contribution that is to be reviewed, whose node reviews others in turn. */
export type Contributor = {
  /** The contribution's id. */
  readonly id: string
  readonly node: string
  readonly member: string
  /** BCP-47 tags of what it was trained on. */
  readonly languages: readonly string[]
}

export type Assignment = { readonly contribution: string; readonly reviewer: string }

/** Puts things into an order that nobody can foresee or choose. */
export type Shuffle = <T>(items: readonly T[]) => readonly T[]

/** Voices for each language: of three, one may lie. More would show a delta to more nodes. */
export const REVIEWERS = 3

/**
 * Who scores what: for each contribution and each of its languages up to {@link REVIEWERS} nodes that contributed
 * in that language too, each of another member, none of the contribution's own. Who has no text of a language is
 * not asked: it could only find that the contribution is different, and would see it for nothing.
 *
 * Those of one language stand in a ring in an order that `shuffle` draws; each is scored by the next in the ring
 * that may. So everybody scores about as many as score it. A reviewer that already scores a contribution for
 * another language stands for its languages too.
 *
 * Depends on the arguments alone; the order of `contributors` does not matter.
 */
export function assignReviewers(contributors: readonly Contributor[], shuffle: Shuffle): Assignment[] {
  const ordered = [...contributors].sort((a, b) => compareText(a.id, b.id))
  const reviewers = new Map(ordered.map(({ id }): [string, Map<string, Contributor>] => [id, new Map()]))
  for (const [language, speakers] of byLanguage(ordered)) {
    const ring = shuffle(speakers)
    ring.forEach((one, at) => {
      const chosen = reviewers.get(one.id) ?? new Map()
      for (const reviewer of nextInRing(ring, at, language, chosen)) chosen.set(reviewer.node, reviewer)
    })
  }
  return ordered.flatMap(({ id }) =>
    [...(reviewers.get(id)?.keys() ?? [])].sort().map((reviewer) => ({ contribution: id, reviewer })),
  )
}

/** The reviewers that a contribution still lacks in a language. */
function nextInRing(
  ring: readonly Contributor[],
  at: number,
  language: string,
  chosen: ReadonlyMap<string, Contributor>,
): Contributor[] {
  const own = ring[at]!
  const already = [...chosen.values()].filter((one) => speaks(one, language))
  const members = new Set([own.member, ...already.map(({ member }) => member)])
  const found: Contributor[] = []
  for (let step = 1; step < ring.length && already.length + found.length < REVIEWERS; step += 1) {
    const next = ring[(at + step) % ring.length]!
    if (members.has(next.member)) continue
    members.add(next.member)
    found.push(next)
  }
  return found
}

function byLanguage(contributors: readonly Contributor[]): [string, Contributor[]][] {
  const speakers = new Map<string, Contributor[]>()
  for (const one of contributors) {
    for (const language of new Set(one.languages.map((tag) => tag.toLowerCase()))) {
      const others = speakers.get(language)
      if (others === undefined) speakers.set(language, [one])
      else others.push(one)
    }
  }
  return [...speakers].sort(([a], [b]) => compareText(a, b))
}

function speaks({ languages }: Contributor, language: string): boolean {
  return languages.some((tag) => tag.toLowerCase() === language)
}
