import type { Json } from '../core/canonical-json.ts'
import type { Score } from '../gen/proto/tapestry/v1/common_pb.ts'
import {
  type ContributionSummary,
  type Diagnostics,
  type GetRoundResponse,
  type LanguageScore,
  type Round,
  RoundPhase,
} from '../gen/proto/tapestry/v1/round_pb.ts'
import { choiceJson, choiceWord } from './choice-view.ts'
import { diagnosticsJson } from './diagnostics-view.ts'
import { verdictJson, weightDecisionJson } from './influence-view.ts'
import { overrideJson } from './override-view.ts'
import { type Column, formatBytes, formatTime, printable, shortDigest, table } from './terminal.ts'

const PHASE_NAMES = {
  [RoundPhase.UNSPECIFIED]: 'unknown',
  [RoundPhase.OPEN]: 'open',
  [RoundPhase.COLLECTING]: 'collecting',
  [RoundPhase.REVIEWING]: 'reviewing',
  [RoundPhase.SEALED]: 'sealed',
  [RoundPhase.AGGREGATING]: 'aggregating',
  [RoundPhase.EVALUATING]: 'evaluating',
  [RoundPhase.PUBLISHED]: 'published',
  [RoundPhase.REJECTED]: 'rejected',
  [RoundPhase.FAILED]: 'failed',
} as const satisfies Record<RoundPhase, string>

/** The phase's name; `unknown` for one that a newer coordinator invented. */
export function phaseName(phase: RoundPhase): string {
  return PHASE_NAMES[phase] ?? 'unknown'
}

const orNull = (text: string) => (text === '' ? null : text)

/** A round as JSON: times in milliseconds since the epoch, null where nothing is known yet. */
export function roundJson(round: Round) {
  return {
    run: round.ref?.run ?? '',
    round: round.ref?.number ?? 0,
    phase: phaseName(round.phase),
    baseDigest: round.baseDigest,
    planDigest: round.planDigest,
    candidateDigest: orNull(round.candidateDigest),
    checkpointDigest: orNull(round.checkpointDigest),
    deadlineMs: round.deadlineMs === 0n ? null : Number(round.deadlineMs),
    roster: round.roster,
    accepted: round.accepted,
    refused: round.refused,
    declined: round.declined,
    evaluated: round.evaluated,
    ...(round.peerReviews && { reviews: round.reviews, reviewed: round.reviewed }),
    reason: orNull(round.reason),
    last: round.last,
    turn: round.turn || (round.ref?.number ?? 0),
    revocation: round.revocation || null,
    revisionOf: round.revisionOf || null,
    strategy: choiceJson(round.strategy),
    codec: choiceJson(round.codec),
  } satisfies Json
}

/** A score as JSON: nats per token. */
export function scoreJson(score: Score | undefined) {
  if (score === undefined) return null
  return { mean: score.mean, standardError: score.standardError, tokens: Number(score.tokens) }
}

function contributionJson(contribution: ContributionSummary) {
  const { node, nodeName, member, status, weight, rejection } = contribution
  return {
    node,
    name: nodeName,
    member,
    status,
    weight,
    weightReason: orNull(contribution.weightReason),
    weightDecision: weightDecisionJson(contribution.weightDecision),
    rejection: rejection === undefined ? null : { reason: rejection.reason, detail: rejection.detail },
    contribution: orNull(contribution.contribution),
    fromRound: contribution.round || null,
    bytes: Number(contribution.bytes),
    norm: contribution.norm,
    payloadDigest: orNull(contribution.payloadDigest),
    languages: contribution.languages.map((report) => ({
      language: report.language,
      community: orNull(report.community),
      tokens: Number(report.tokens),
      documents: Number(report.documents),
      before: scoreJson(report.before),
      after: scoreJson(report.after),
    })),
  }
}

function languageJson(score: LanguageScore) {
  const { language, community, base, candidate, measuredBy } = score
  const group = { language, ...(community !== '' && { community }) }
  return { ...group, base: scoreJson(base), candidate: scoreJson(candidate), measuredBy, ...verdictJson(score) }
}

/** One round with its contributions and scores as JSON. */
export function inspectionJson(response: GetRoundResponse) {
  return {
    ...(response.round === undefined ? null : roundJson(response.round)),
    contributions: response.contributions.map(contributionJson),
    updates: updatesOf(response),
    languages: response.languages.map(languageJson),
    communities: response.communities.map(languageJson),
    diagnostics: diagnosticsJson(response.diagnostics),
    override: overrideJson(response.override),
  } satisfies Json
}

/** What the accepted updates took on the wire. `shareOfF32`: of what they would take as F32; null before the merge. */
function updatesOf({ contributions, diagnostics }: GetRoundResponse) {
  const accepted = contributions.filter(({ status }) => status === 'accepted')
  const bytes = accepted.reduce((sum, contribution) => sum + Number(contribution.bytes), 0)
  const dense = 4 * Number(diagnostics?.elements ?? 0n) * accepted.length
  return { count: accepted.length, bytes, shareOfF32: dense > 0 ? bytes / dense : null }
}

/** How updates travelled, in one line; undefined for a coordinator that does not say. */
export function codecText(response: GetRoundResponse): string | undefined {
  const codec = response.round?.codec
  if (codec === undefined) return undefined
  const { count, bytes, shareOfF32 } = updatesOf(response)
  if (count === 0) return `codec: ${choiceWord(codec)}`
  const share = codec.name === 'f32' || shareOfF32 === null ? '' : `, ${percent(shareOfF32)} of what F32 takes`
  return `codec: ${choiceWord(codec)}; ${formatBytes(bytes)} in ${count} update${count === 1 ? '' : 's'}${share}`
}

/** The phase, and whether a revocation took the round back or made it. */
function phaseText({ phase, revocation, revisionOf }: Round): string {
  if (revocation > 0) return `${phaseName(phase)}, taken back`
  return revisionOf > 0 ? `${phaseName(phase)} (revision)` : phaseName(phase)
}

/** Rounds for people. */
export function roundsTable(rounds: readonly Round[]): string {
  const columns: Column[] = [
    { title: 'ROUND' },
    { title: 'PHASE' },
    { title: 'ROSTER', align: 'right' },
    { title: 'ACCEPTED', align: 'right' },
    { title: 'REFUSED', align: 'right' },
    { title: 'DECLINED', align: 'right' },
    { title: 'UNTIL' },
    { title: 'CHECKPOINT' },
  ]
  return table(
    columns,
    rounds.map((round) => [
      `${printable(round.ref?.run ?? '')}/${round.ref?.number ?? 0}`,
      phaseText(round),
      String(round.roster),
      String(round.accepted),
      String(round.refused),
      String(round.declined),
      formatTime(Number(round.deadlineMs)),
      shortDigest(printable(round.checkpointDigest)) || '-',
    ]),
  )
}

/**
 * Who contributed what to a round. WEIGHT: the share that policy decided; FACTOR: what the strategy made of it, the
 * number that the merge multiplied the contribution by.
 */
export function contributionsTable(
  contributions: readonly ContributionSummary[],
  diagnostics?: Diagnostics | undefined,
): string {
  const factors = new Map(diagnostics?.contributions.map(({ node, coefficient }) => [node, coefficient]))
  const columns: Column[] = [
    { title: 'NODE' },
    { title: 'MEMBER' },
    { title: 'STATUS' },
    { title: 'WEIGHT', align: 'right' },
    ...(diagnostics === undefined ? [] : [{ title: 'FACTOR', align: 'right' } as const]),
    { title: 'TOKENS', align: 'right' },
    { title: 'LANGUAGES (held-out loss before > after own training)' },
  ]
  return table(
    columns,
    contributions.map((contribution) => [
      printable(contribution.nodeName),
      printable(contribution.member),
      printable(contribution.rejection?.reason ?? contribution.status),
      percent(contribution.weight),
      ...(diagnostics === undefined ? [] : [factorText(contribution, factors)]),
      String(contribution.languages.reduce((sum, report) => sum + report.tokens, 0n)),
      contribution.languages.map(reportText).join(', '),
    ]),
  )
}

/** An order statistic takes each element from another contribution: no one number says how much of one it took. */
function factorText({ node, weight }: ContributionSummary, factors: ReadonlyMap<string, number | undefined>): string {
  if (!factors.has(node)) return '-'
  const factor = factors.get(node)
  if (factor === undefined) return 'by element'
  return Math.abs(factor - weight) < 1e-9 ? '= weight' : factor.toFixed(4)
}

function reportText(report: ContributionSummary['languages'][number]): string {
  const community = report.community === '' ? '' : ` (${report.community})`
  return printable(`${report.language}${community} ${loss(report.before)} > ${loss(report.after)}`)
}

/** Base and candidate per language. */
export function languagesTable(scores: readonly LanguageScore[]): string {
  const columns: Column[] = [
    { title: 'LANGUAGE' },
    { title: 'BASE', align: 'right' },
    { title: 'CANDIDATE', align: 'right' },
    { title: 'CHANGE', align: 'right' },
    { title: 'HELD-OUT TOKENS', align: 'right' },
    { title: 'MEASURED BY', align: 'right' },
  ]
  return table(
    columns,
    scores.map(({ language, base, candidate, measuredBy }) => [
      printable(language),
      loss(base),
      loss(candidate),
      base && candidate ? changeText(base.mean, candidate.mean) : '-',
      String(candidate?.tokens ?? 0),
      String(measuredBy.length),
    ]),
  )
}

const loss = (score: Score | undefined) => score?.mean.toFixed(3) ?? '-'

const percent = (share: number) => (share > 0 ? `${(share * 100).toFixed(1)}%` : '-')

/** The change of a loss in percent: negative is better. */
export function changeText(from: number, to: number): string {
  const change = ((to - from) / from) * 100
  return Number.isFinite(change) ? `${change > 0 ? '+' : ''}${change.toFixed(1)}%` : '-'
}
