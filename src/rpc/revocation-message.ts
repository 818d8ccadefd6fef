import type { MessageInitShape } from '@bufbuild/protobuf'
import { assertNever } from '../core/assert.ts'
import {
  RevocationMode as Mode,
  type RevocationEstimateSchema,
  type RevocationSchema,
} from '../gen/proto/tapestry/v1/revocation_pb.ts'
import type { RevocationPlan } from '../policy/revocation.ts'
import { outcomeOf, type RevocationOutcome, type RevocationState, revisionOf } from '../round/revocation.ts'
import type { RevocationRow } from '../store/checkpoint-row.ts'

const MODES = { rewind: Mode.REWIND, remerge: Mode.REMERGE } as const

export function estimateMessage(run: string, plan: RevocationPlan): MessageInitShape<typeof RevocationEstimateSchema> {
  return {
    run,
    contributions: plan.contributions,
    baseDigest: plan.base,
    firstBase: plan.firstBase,
    rounds: plan.rounds,
    superseded: plan.superseded,
    repeatedRounds: plan.repeated,
    remerged: plan.steps.reduce((sum, { contributions }) => sum + contributions.length, 0),
    remergedBytes: BigInt(plan.remergedBytes),
    deletedBytes: BigInt(plan.deletedBytes),
    indirectInfluence: plan.indirectInfluence,
  }
}

export function revocationMessage(row: RevocationRow): MessageInitShape<typeof RevocationSchema> {
  const { key, mode, requestedBy, reason, plan, state, createdAt } = row
  const outcome = outcomeOf(state)
  return {
    run: key.run,
    number: key.number,
    mode: MODES[mode],
    state: state.phase,
    requestedBy,
    reason,
    requestedMs: BigInt(createdAt),
    estimate: estimateMessage(key.run, plan),
    revision: revisionOf(state) ?? 0,
    checkpointDigest: outcome?.kind === 'reissued' ? outcome.checkpoint : '',
    outcome: sentenceOf(state, outcome),
  }
}

function sentenceOf(state: RevocationState, outcome: RevocationOutcome | null): string {
  if (state.phase === 'failed') return state.reason
  if (outcome === null) return ''
  switch (outcome.kind) {
    case 'untouched':
      return 'no checkpoint that counts holds any of it'
    case 'returned':
      return outcome.because
    case 'reissued':
      return 'what remains was merged again and published'
    case 'overtaken':
      return `revocation ${outcome.by} took over what was left to do`
    default:
      return assertNever(outcome)
  }
}
