import type { MessageInitShape } from '@bufbuild/protobuf'
import type { Codec } from '../core/codec.ts'
import { TapestryError } from '../core/error.ts'
import { ensureRoundNumber, ensureRunId, type RoundKey } from '../core/ids.ts'
import type { Signature } from '../core/signature.ts'
import type { Strategy } from '../core/strategy.ts'
import type { RoundRef, ScoreSchema, Signature as SignatureMessage } from '../gen/proto/tapestry/v1/common_pb.ts'
import {
  type CodecSchema,
  RoundPhase,
  type RoundSchema,
  type StrategySchema,
} from '../gen/proto/tapestry/v1/round_pb.ts'
import { deadlineOf, type Phase, type Round, turnOf } from '../round/round.ts'
import type { RoundRow, ScoreRow } from '../store/records.ts'

/** Between the wire and the domain: proto enums and optional messages end here. */

const PHASE_MESSAGES = {
  open: RoundPhase.OPEN,
  collecting: RoundPhase.COLLECTING,
  reviewing: RoundPhase.REVIEWING,
  sealed: RoundPhase.SEALED,
  aggregating: RoundPhase.AGGREGATING,
  evaluating: RoundPhase.EVALUATING,
  published: RoundPhase.PUBLISHED,
  rejected: RoundPhase.REJECTED,
  failed: RoundPhase.FAILED,
} as const satisfies Record<Phase, RoundPhase>

/** @throws TapestryError INVALID_ARGUMENT when the reference is missing or malformed. */
export function roundKeyOf(ref: RoundRef | undefined): RoundKey {
  if (ref === undefined) throw new TapestryError('INVALID_ARGUMENT', 'the request names no round')
  return { run: ensureRunId(ref.run), number: ensureRoundNumber(ref.number) }
}

/** @throws TapestryError INVALID_ARGUMENT when there is no signature. */
export function signatureOf(message: SignatureMessage | undefined): Signature {
  if (message === undefined) throw new TapestryError('INVALID_ARGUMENT', 'the request carries no signature')
  return { keyId: message.keyId, value: Buffer.from(message.value).toString('base64') }
}

export function signatureMessage(signature: Signature) {
  return { keyId: signature.keyId, value: Buffer.from(signature.value, 'base64') }
}

export function roundMessage({ key, round, version, revocation }: RoundRow): MessageInitShape<typeof RoundSchema> {
  return {
    ref: { run: key.run, number: key.number },
    phase: PHASE_MESSAGES[round.phase],
    version: BigInt(version),
    baseDigest: round.base,
    planDigest: round.plan,
    candidateDigest: 'candidate' in round ? round.candidate : '',
    checkpointDigest: round.phase === 'published' ? round.checkpoint : '',
    deadlineMs: BigInt(deadlineOf(round) ?? 0),
    ...countsOf(round),
    reason: 'reason' in round ? round.reason : '',
    turn: turnOf(key.number, round),
    last: turnOf(key.number, round) >= round.policy.rounds,
    revocation: revocation ?? 0,
    revisionOf: round.revisionOf ?? 0,
    strategy: strategyMessage(round.policy.strategy),
    pairedEvidence: round.policy.gate.evidence === 'paired',
    codec: codecMessage(round.policy.codec),
    peerReviews: round.policy.influence.floor === 'peers',
    ...(round.phase === 'reviewing' && { reviews: round.reviews, reviewed: round.reviewed }),
  }
}

function countsOf(round: Round) {
  if (round.phase === 'open') return { roster: round.joined, accepted: 0, refused: 0, declined: 0, evaluated: 0 }
  const evaluated = 'evaluated' in round ? round.evaluated : 0
  const { roster, accepted, refused, declined } = round
  return { roster, accepted, refused, declined, evaluated }
}

export function strategyMessage({ name, parameters }: Strategy): MessageInitShape<typeof StrategySchema> {
  return { name, parameters: { ...parameters } }
}

export function codecMessage({ name, parameters }: Codec): MessageInitShape<typeof CodecSchema> {
  return { name, parameters: { ...parameters } }
}

export function scoreMessage(score: ScoreRow): MessageInitShape<typeof ScoreSchema> {
  return { mean: score.mean, standardError: score.standardError, tokens: BigInt(score.tokens) }
}

/** An index or size. @throws TapestryError INVALID_ARGUMENT beyond 2^53-1. */
export function countOf(value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value)
  throw new TapestryError('INVALID_ARGUMENT', `not a count: ${value}`)
}

/** A page size: 0 means `usual`. @throws TapestryError INVALID_ARGUMENT beyond `most`. */
export function limitOf(asked: number, usual = 100, most = 1000): number {
  if (asked > most) throw new TapestryError('INVALID_ARGUMENT', `limit must be at most ${most}, not ${asked}`)
  return asked === 0 ? usual : asked
}
