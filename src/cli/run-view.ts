import type { Demands, Influence, Run } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { choiceJson } from './choice-view.ts'
import { formatDuration } from './duration.ts'
import { formatTime, printable, table } from './terminal.ts'

/** A run as JSON: windows in milliseconds. */
export function runJson(run: Run) {
  const { id, planDigest, channel, policy, roundsStarted } = run
  return {
    id,
    planDigest,
    channel,
    roundsStarted,
    uncounted: run.uncounted,
    revocation: run.revocation || null,
    createdMs: Number(run.createdMs),
    policy: {
      target: policy?.target ?? 0,
      quorum: policy?.quorum ?? 0,
      rounds: policy?.rounds ?? 0,
      joinWindowMs: Number(policy?.joinWindowMs ?? 0n),
      collectWindowMs: Number(policy?.collectWindowMs ?? 0n),
      evaluateWindowMs: Number(policy?.evaluateWindowMs ?? 0n),
      continuous: policy?.continuous ?? false,
      maxNorm: policy?.maxNorm ?? 0,
      strategy: choiceJson(policy?.strategy),
      codec: choiceJson(policy?.codec),
      influence: influenceJson(policy?.influence),
      gate: policy?.gate ? { evidence: policy.gate.evidence, minTokens: policy.gate.minTokens } : null,
      demands: demandsJson(policy?.demands),
    },
  }
}

/** Null when the coordinator is older than the choice. */
function influenceJson(influence: Influence | undefined) {
  if (influence === undefined) return null
  const { weighting, caps, qualityFloor } = influence
  return {
    weighting: weighting ? { name: weighting.name, parameters: { ...weighting.parameters } } : null,
    caps: caps
      ? { node: caps.node, member: caps.member, jurisdiction: caps.jurisdiction, language: caps.language }
      : null,
    qualityFloor,
  }
}

/** Null when the run takes contributions without records. */
function demandsJson(demands: Demands | undefined) {
  if (demands === undefined || demands.withoutRecords) return null
  const { licence, uses, stage, coordinatedIn } = demands
  return { licence, uses, stage, coordinatedIn: coordinatedIn || null }
}

/** Runs for people. */
export function runsTable(runs: readonly Run[]): string {
  return table(
    [
      { title: 'RUN' },
      { title: 'CHANNEL' },
      { title: 'ROUNDS', align: 'right' },
      { title: 'TARGET', align: 'right' },
      { title: 'QUORUM', align: 'right' },
      { title: 'STRATEGY' },
      { title: 'LICENCE' },
      { title: 'CODEC' },
      { title: 'COLLECTS FOR', align: 'right' },
      { title: 'REVOCATION' },
      { title: 'CREATED' },
    ],
    runs.map((run) => [
      printable(run.id),
      printable(run.channel),
      `${run.roundsStarted}/${run.policy?.rounds ?? 0}`,
      String(run.policy?.target ?? 0),
      String(run.policy?.quorum ?? 0),
      printable(run.policy?.strategy?.name ?? '-'),
      printable(run.policy?.demands?.licence || '-'),
      printable(run.policy?.codec?.name ?? '-'),
      formatDuration(Number(run.policy?.collectWindowMs ?? 0n)),
      printable(run.revocation) || '-',
      formatTime(Number(run.createdMs)),
    ]),
  )
}
