import { type Revocation, type RevocationEstimate, RevocationMode } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import { formatBytes, formatTime, printable, shortDigest, table } from './terminal.ts'

const MODES = new Map<RevocationMode, string>([
  [RevocationMode.REWIND, 'rewind'],
  [RevocationMode.REMERGE, 'remerge'],
])

/** What a revocation would cost, as JSON. */
export function estimateJson(estimate: RevocationEstimate) {
  const { run, contributions, baseDigest, firstBase, rounds, superseded, repeatedRounds, remerged } = estimate
  return {
    ...{ run, contributions, baseDigest, firstBase, rounds, superseded, repeatedRounds, remerged },
    remergedBytes: Number(estimate.remergedBytes),
    deletedBytes: Number(estimate.deletedBytes),
    indirectInfluence: estimate.indirectInfluence ?? null,
  }
}

/** The same for people. */
export function estimateText(estimate: RevocationEstimate): string {
  const { run, contributions, firstBase, rounds, superseded, repeatedRounds, remerged, remergedBytes } = estimate
  const touched = rounds.length === 0 ? 'touches no round' : `takes back ${counted(rounds.length, 'round')}`
  const lines = [
    `run ${printable(run)}: revokes ${counted(contributions.length, 'contribution')}, ${touched}`,
    ...contributions.map((id) => `  ${printable(id)}`),
    ...(superseded.length > 0 ? [`  ${counted(superseded.length, 'checkpoint')} superseded`] : []),
    ...(superseded.length > 0 ? [`  goes back to ${baseText(estimate, firstBase)}`] : []),
    ...(repeatedRounds > 0 ? [`  ${counted(repeatedRounds, 'round')} run again by the nodes`] : []),
    ...(remerged > 0
      ? [`  ${counted(remerged, 'contribution')} merged again (${formatBytes(Number(remergedBytes))})`]
      : []),
    `  ${formatBytes(Number(estimate.deletedBytes))} deleted`,
    ...(remerged > 0 ? [influenceText(estimate)] : []),
  ]
  return lines.join('\n')
}

function baseText({ baseDigest }: RevocationEstimate, firstBase: boolean): string {
  return firstBase ? 'the checkpoint that it began with: nothing trained remains' : shortDigest(printable(baseDigest))
}

function influenceText({ indirectInfluence }: RevocationEstimate): string {
  const share = indirectInfluence === undefined ? 'an unknown share' : `${(indirectInfluence * 100).toFixed(1)} %`
  return `  indirect influence: an estimated ${share} of it was trained from what the revoked had moved`
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`

/** A revocation as JSON. */
export function revocationJson(revocation: Revocation) {
  const { run, number, state, requestedBy, reason, estimate, outcome } = revocation
  return {
    ...{ run, number, mode: modeText(revocation), state, requestedBy, reason },
    requestedMs: Number(revocation.requestedMs),
    revision: revocation.revision || null,
    checkpointDigest: revocation.checkpointDigest || null,
    outcome: outcome || null,
    estimate: estimate === undefined ? null : estimateJson(estimate),
  }
}

const modeText = ({ mode }: Revocation) => MODES.get(mode) ?? 'unknown'

/** Revocations for people. */
export function revocationsTable(revocations: readonly Revocation[]): string {
  const titles = ['RUN', 'NUMBER', 'MODE', 'STATE', 'BY', 'CONTRIBUTIONS', 'SUPERSEDED', 'ASKED', 'OUTCOME']
  return table(
    titles.map((title) => ({ title })),
    revocations.map((revocation) => {
      const { run, number, state, requestedBy, requestedMs, estimate, outcome } = revocation
      const counts = [estimate?.contributions.length ?? 0, estimate?.superseded.length ?? 0].map(String)
      const who = [printable(state), printable(requestedBy)]
      const when = [formatTime(Number(requestedMs)), printable(outcome) || '-']
      return [printable(run), String(number), modeText(revocation), ...who, ...counts, ...when]
    }),
  )
}
