import type { Json } from '../../core/canonical-json.ts'
import {
  type ContributionSummary,
  type GetRoundResponse,
  type LanguageReport,
  type LanguageScore,
  RoundPhase,
} from '../../gen/proto/tapestry/v1/round_pb.ts'
import { weightDecisionJson } from '../influence-view.ts'
import { phaseName } from '../round-view.ts'
import type { SovereigntyReport } from './sovereignty.ts'

export type DemoReport = {
  readonly rounds: readonly GetRoundResponse[]
  readonly checkpoint: {
    readonly version: number
    readonly digest: string
    readonly channel: string
    readonly path: string
  }
  readonly verified: boolean
  /** What the scenario was about, where there was one. */
  readonly sovereignty?: SovereigntyReport
  readonly wallSeconds: number
  /** Peak resident memory with all child processes, MB (10^6 bytes): of the coordinator, and of the largest node. */
  readonly peakRssMb: { readonly coordinator: number; readonly node: number }
}

/** The one object that `demo --json` writes. Losses are nats per token on held-out text. */
export function reportJson({ rounds, sovereignty, ...rest }: DemoReport) {
  const { stopped, log } = sovereignty ?? {}
  const story = stopped && log && { stopped: [...stopped], log }
  return { rounds: rounds.map(roundReport), ...rest, ...(story && { sovereignty: story }) } satisfies Json
}

function roundReport({ round, contributions, languages }: GetRoundResponse) {
  return {
    round: round?.ref?.number ?? 0,
    baseDigest: round?.baseDigest ?? '',
    checkpointDigest: round?.checkpointDigest || null,
    status: phaseName(round?.phase ?? 0),
    contributions: contributions.map(contributionReport),
    languages: Object.fromEntries(
      languages.map(({ language, base, candidate, verdict }) => [
        language,
        { base: base?.mean ?? null, candidate: candidate?.mean ?? null, verdict: verdict || null },
      ]),
    ),
  }
}

function contributionReport(contribution: ContributionSummary) {
  const { node, status, weight, bytes, weightReason, weightDecision, rejection, languages } = contribution
  const tags = [...new Set(languages.map((report) => report.language))]
  return {
    node,
    status,
    weight,
    weightReason: weightReason || null,
    weightDecision: weightDecisionJson(weightDecision),
    bytes: Number(bytes),
    ...(rejection === undefined ? {} : { reason: rejection.reason }),
    languages: Object.fromEntries(
      tags.map((tag) => [tag, languageReport(languages.filter((report) => report.language === tag))]),
    ),
  }
}

/** Communities of one language are added up, their losses weighted by held-out tokens. */
function languageReport(reports: readonly LanguageReport[]) {
  return {
    tokens: reports.reduce((sum, { tokens }) => sum + Number(tokens), 0),
    lossBefore: pooled(reports.map(({ before }) => before)),
    lossAfter: pooled(reports.map(({ after }) => after)),
  }
}

function pooled(scores: readonly (LanguageReport['before'] | undefined)[]): number | null {
  const measured = scores.filter((score) => score !== undefined && score.tokens > 0n)
  const tokens = measured.reduce((sum, score) => sum + Number(score?.tokens), 0)
  return tokens === 0
    ? null
    : measured.reduce((sum, score) => sum + (score?.mean ?? 0) * Number(score?.tokens), 0) / tokens
}

/** A language that did not learn, or was not measured: why the demonstration fails. */
export type Unlearned = { readonly language: string; readonly first: number | null; readonly last: number | null }

/**
 * Languages whose loss after the last round is not lower than before the first. What counts is the
 * model that stands: a candidate that the release gate refused leaves the base in place.
 * @param expected every language that was given out.
 */
export function unlearned(rounds: readonly GetRoundResponse[], expected: readonly string[]): Unlearned[] {
  return expected.flatMap((language) => {
    const first = scoreOf(rounds.at(0), language)?.base?.mean ?? null
    const last = standing(rounds.at(-1), language)?.mean ?? null
    return first !== null && last !== null && last < first ? [] : [{ language, first, last }]
  })
}

function standing(response: GetRoundResponse | undefined, language: string) {
  const score = scoreOf(response, language)
  return response?.round?.phase === RoundPhase.PUBLISHED ? score?.candidate : score?.base
}

function scoreOf(response: GetRoundResponse | undefined, language: string): LanguageScore | undefined {
  return response?.languages.find((score) => score.language === language)
}
