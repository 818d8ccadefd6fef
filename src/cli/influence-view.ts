import type { ContributionSummary, LanguageScore, WeightDecision } from '../gen/proto/tapestry/v1/round_pb.ts'
import { type Column, printable, table } from './terminal.ts'

/** What a weight was decided from, as JSON; null before it and for rounds of older coordinators. */
export function weightDecisionJson(decision: WeightDecision | undefined) {
  if (decision === undefined) return null
  const { policy, weighting, claimedTokens, countedTokens, languages, wished, caps, counts } = decision
  return {
    ...{ policy, weighting, claimedTokens, countedTokens, wished, counts },
    languages: { ...languages },
    jurisdiction: decision.jurisdiction || null,
    quality: decision.quality ?? null,
    belowFloor: decision.belowFloor || null,
    peers: decision.peers || null,
    caps: caps.map(({ kind, group, asked, limit }) => ({ kind, group, asked, limit })),
  }
}

/** Who weighs how much, and why. */
export function weightsTable(contributions: readonly ContributionSummary[]): string {
  return table(
    [{ title: 'NODE' }, { title: 'WEIGHT', align: 'right' }, { title: 'BECAUSE' }],
    contributions.map(({ nodeName, node, weight, weightReason }) => [
      printable(nodeName || node),
      `${(weight * 100).toFixed(1)}%`,
      printable(weightReason),
    ]),
  )
}

/** What the gate found about a language or a community, as JSON; nulls before the decision and where nothing was measured. */
export function verdictJson(score: LanguageScore) {
  const { verdict, method, sequences, difference, low, high, confidence, leftOut } = score
  return {
    verdict: verdict || null,
    leftOut,
    evidence:
      difference === undefined
        ? null
        : { method, sequences, difference, low: low ?? null, high: high ?? null, confidence },
  }
}

const right = (title: string): Column => ({ title, align: 'right' })

/** The gate's verdict on each language and community. */
export function verdictsTable(scores: readonly LanguageScore[]): string {
  return table(
    [
      { title: 'LANGUAGE' },
      { title: 'COMMUNITY' },
      { title: 'VERDICT' },
      right('CHANGE'),
      right('INTERVAL'),
      right('BY'),
    ],
    scores.map(({ language, community, verdict, difference, low, high, method, sequences }) => [
      printable(language),
      printable(community) || '-',
      printable(verdict).toUpperCase(),
      signed(difference),
      low === undefined || high === undefined ? '-' : `${signed(low)} to ${signed(high)}`,
      method === '' ? '-' : printable(sequences > 0 ? `${method}, ${sequences} sequences` : method),
    ]),
  )
}

function signed(value: number | undefined): string {
  return value === undefined ? '-' : `${value > 0 ? '+' : ''}${value.toFixed(4)}`
}
