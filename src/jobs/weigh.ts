import { usesWeights } from '../core/strategy.ts'
import type { Plan } from '../plan/plan.ts'
import { decideWeights } from '../policy/influence.ts'
import type { QualityVerdict } from '../policy/quality-floor.ts'
import type { RunPolicy } from '../round/policy.ts'
import { becauseOf, neededOf } from '../round/quorum.ts'
import { advanceRound } from '../store/advance.ts'
import type { ContributionRow, MemberRow, NodeRow } from '../store/records.ts'
import type { Weighed } from './ledger-events.ts'
import { finish, type Task } from './task.ts'

/** A failure names at most this many contributions. */
const MOST_NAMED = 5

/** Why what passed the quality floor is too little to merge; undefined when it is enough. */
export function shortfall(
  policy: RunPolicy,
  rows: readonly ContributionRow[],
  quality: readonly QualityVerdict[],
): string | undefined {
  const needed = neededOf(policy)
  const below = rows.flatMap(({ node }, i) => (quality[i]?.below ? [`${node}: ${quality[i].below}`] : []))
  const left = rows.length - below.length
  if (left >= needed) return undefined
  const why = below.slice(0, MOST_NAMED).join('; ')
  return `the quality floor left ${left} of the ${needed} contributions needed${becauseOf(policy)} (${why})`
}

/** Ends a round that leaves too little to merge, and says why. */
export async function giveUpMerge({ context, job }: Task, reason: string): Promise<void> {
  const now = context.clock.now()
  await context.store.transact('fail-below-floor', async (tx) => {
    await finish(tx, job, now)
    await advanceRound(tx, job.key, { type: 'work-abandoned', reason }, now)
  })
  context.log.info({ job: job.id, reason }, 'too few contributions are above the quality floor')
}

/** Decides every share, each with its reason, in order of node id. @throws as `decideWeights` */
export async function weigh(
  { context }: Task,
  plan: Plan,
  policy: RunPolicy,
  rows: readonly ContributionRow[],
  quality: readonly QualityVerdict[],
): Promise<Weighed[]> {
  const { reader } = context.store
  const nodes = new Map((await reader.nodes()).map((node): [string, NodeRow] => [node.id, node]))
  const members = new Map((await reader.members()).map((member): [string, MemberRow] => [member.id, member]))
  const ownerOf = (node: string) => {
    const member = nodes.get(node)?.member ?? ''
    return { member, jurisdiction: members.get(member)?.jurisdiction ?? null }
  }
  const { localSteps, batchSize, sequenceLength } = plan.spec.training
  const influencers = rows.map(({ id, node, norm, languages }, i) => ({
    ...{ id, node, norm, languages, ...ownerOf(node) },
    ...(quality[i] ?? { quality: null, below: null }),
  }))
  const mostTokens = localSteps * batchSize * sequenceLength
  const decisions = decideWeights(influencers, {
    ...policy.influence,
    mostTokens,
    counts: usesWeights(policy.strategy),
  })
  return rows.flatMap((row, i) => {
    const weight = decisions[i]
    return weight === undefined ? [] : [{ row, member: nodes.get(row.node)?.member, weight }]
  })
}

/** A weight of 0 takes no part, whatever the strategy: order statistics would count it in full. */
export function isMerged({ weight }: Weighed): boolean {
  return weight.value > 0
}
