import { type Codec, ensureCodec, F32 } from '../core/codec.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureRoundNumber, ensureRunId, type RoundKey } from '../core/ids.ts'
import { type Codec as CodecMessage, type Round, RoundPhase } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { Phase } from '../round/round.ts'
import { printable } from './rpc-error.ts'
import { received } from './wire.ts'

/** `declined`: takes no further part. */
export type NodeStanding = 'none' | 'joined' | 'accepted' | 'refused' | 'evaluated' | 'declined'

/** A round as this node sees it. */
export type RoundView = {
  readonly key: RoundKey
  readonly phase: Phase
  readonly base: Digest
  readonly plan: Digest
  /** Its place among the rounds that count: what training is seeded by. */
  readonly turn: number
  /** How its updates travel. */
  readonly codec: Codec
  /** Digest of the candidate's weights file; from evaluating on. */
  readonly candidate: Digest | undefined
  /** Manifest digest of what was published. */
  readonly checkpoint: Digest | undefined
  readonly standing: NodeStanding
  /** Why it was rejected or failed; empty otherwise. */
  readonly reason: string
  /** The run has no further rounds. */
  readonly last: boolean
  /** When the phase times out, milliseconds since the epoch; 0 when it does not. */
  readonly deadlineMs: number
  /** The round takes paired evidence with evaluation reports. */
  readonly pairedEvidence: boolean
  /** Contributions are shown to other members' nodes, which score them. */
  readonly peerReviews: boolean
  readonly counts: { readonly roster: number; readonly accepted: number; readonly refused: number }
}

const PHASES: ReadonlyMap<RoundPhase, Phase> = new Map([
  [RoundPhase.OPEN, 'open'],
  [RoundPhase.COLLECTING, 'collecting'],
  [RoundPhase.REVIEWING, 'reviewing'],
  [RoundPhase.SEALED, 'sealed'],
  [RoundPhase.AGGREGATING, 'aggregating'],
  [RoundPhase.EVALUATING, 'evaluating'],
  [RoundPhase.PUBLISHED, 'published'],
  [RoundPhase.REJECTED, 'rejected'],
  [RoundPhase.FAILED, 'failed'],
])

const STANDINGS: readonly NodeStanding[] = ['none', 'joined', 'accepted', 'refused', 'evaluated', 'declined']

/** Reads a round as the coordinator sent it. @throws TapestryError VERIFICATION_FAILED for anything unknown. */
export function parseRoundView(round: Round | undefined, standing: string): RoundView {
  const phase = round && PHASES.get(round.phase)
  const known = STANDINGS.find((name) => name === standing)
  if (!round?.ref || phase === undefined || known === undefined) {
    throw new TapestryError('VERIFICATION_FAILED', 'the coordinator sent a round that cannot be read', {
      hint: 'it may be newer than this program',
    })
  }
  const view: RoundView = {
    key: { run: received(ensureRunId, round.ref.run), number: received(ensureRoundNumber, round.ref.number) },
    phase,
    base: received(ensureDigest, round.baseDigest),
    plan: received(ensureDigest, round.planDigest),
    turn: turnOf(round),
    codec: round.codec === undefined ? F32 : received(codecOf, round.codec),
    candidate: optionalDigest(round.candidateDigest),
    checkpoint: optionalDigest(round.checkpointDigest),
    standing: known,
    reason: printable(round.reason),
    last: round.last,
    deadlineMs: Number(round.deadlineMs),
    pairedEvidence: round.pairedEvidence,
    peerReviews: round.peerReviews,
    counts: { roster: round.roster, accepted: round.accepted, refused: round.refused },
  }
  return complete(view)
}

/** Older coordinators count every round. */
function turnOf({ turn, ref }: Round): number {
  const number = ref?.number ?? 0
  if (turn <= number) return turn || number
  throw new TapestryError('VERIFICATION_FAILED', `the coordinator says that round ${number} is the ${turn}th`)
}

function codecOf({ name, parameters }: CodecMessage): Codec {
  return ensureCodec(name, parameters)
}

function complete(view: RoundView): RoundView {
  const lacks =
    (view.phase === 'evaluating' && view.candidate === undefined) ||
    (view.phase === 'published' && view.checkpoint === undefined)
  if (!lacks) return view
  throw new TapestryError('VERIFICATION_FAILED', `the coordinator sent an incomplete ${view.phase} round`)
}

function optionalDigest(text: string): Digest | undefined {
  return text === '' ? undefined : received(ensureDigest, text)
}

/** True for phases that nothing leaves. */
export function hasEnded({ phase }: { readonly phase: Phase }): boolean {
  return phase === 'published' || phase === 'rejected' || phase === 'failed'
}
