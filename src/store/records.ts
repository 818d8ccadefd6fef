import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { ChannelName, FederationId, MemberId, NodeId, RecordId, RoundKey, RunId } from '../core/ids.ts'
import type { Jurisdiction } from '../core/jurisdiction.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import type { RejectionReason } from '../core/rejection.ts'
import type { Signature } from '../core/signature.ts'
import type { LanguageEvaluation } from '../model/evaluation-report.ts'
import type { PairedEvidence } from '../model/paired-evidence.ts'
import type { WeightRecord } from '../policy/influence.ts'
import type { NodeStatus } from '../policy/membership.ts'
import type { RunPolicy } from '../round/policy.ts'
import type { Phase, Round } from '../round/round.ts'
import type { Standing } from '../round/step.ts'

/** What the store keeps, in the domain's own types. Signed documents are kept as the exact text that was signed. */
export type FederationRow = {
  readonly id: FederationId
  readonly name: string
  /** Canonical JSON of the federation record. */
  readonly record: string
  /** Base64 signature of the record by the CA key. */
  readonly signature: string
  readonly createdAt: Millis
}

export type MemberRow = {
  readonly id: MemberId
  /** Null when no operator has declared it. */
  readonly jurisdiction: Jurisdiction | null
}

export type InvitationRow = {
  /** Hex SHA-256 of the secret. */
  readonly secretHash: string
  readonly member: MemberId
  readonly expiresAt: Millis
  readonly usedBy: NodeId | null
}

export type NodeRow = {
  readonly id: NodeId
  readonly member: MemberId
  readonly name: string
  /** Canonical JSON of the genesis record. */
  readonly genesis: string
  /** PEM of the node's present Ed25519 public key. */
  readonly publicKey: string
  readonly status: NodeStatus
  /** Null while it is the first. */
  readonly statusSince: Millis | null
  /** What an operator gave as the reason of the status. */
  readonly statusReason: string | null
  /** Since when it stands aside by its own choice. */
  readonly pausedAt: Millis | null
  /** Times it has changed its keys. */
  readonly keyChanges: number
  readonly keysSince: Millis | null
  readonly enrolledAt: Millis
}

/** What is known of a node when it enrols. */
export type NewNodeRow = Pick<NodeRow, 'id' | 'member' | 'name' | 'genesis' | 'publicKey' | 'enrolledAt'>

export type DatasetRecordRow = {
  /** Digest of the signed record. */
  readonly digest: Digest
  readonly node: NodeId
  readonly member: MemberId
  readonly id: RecordId
  /** Canonical JSON that the node signed. */
  readonly text: string
  readonly signature: Signature
  readonly evidence: Digest
  readonly content: Digest
  readonly public: boolean
  readonly registeredAt: Millis
  /** Null while it stands. */
  readonly withdrawnAt: Millis | null
}

/** A withdrawal as a node signed it: it covers every record of one dataset. */
export type WithdrawalRow = {
  readonly node: NodeId
  readonly id: RecordId
  readonly text: string
  readonly signature: Signature
  readonly at: Millis
}

export type DatasetRecordFilter = {
  readonly node?: NodeId
  readonly id?: RecordId
  /** Leave out what only its node and operators may read; `orOf`: but for this node's. */
  readonly publicOnly?: { readonly orOf: NodeId | null }
  readonly limit: number
}

/** Tokens of one record and language in one contribution. */
export type RecordTokensRow = { readonly record: Digest; readonly language: LanguageTag; readonly tokens: number }

export type RunRow = {
  readonly id: RunId
  /** Canonical JSON of the plan. */
  readonly plan: string
  readonly planDigest: Digest
  readonly policy: RunPolicy
  readonly channel: ChannelName
  /** Checkpoint that the next round starts from. */
  readonly head: Digest
  /** Of those that count. */
  readonly roundsStarted: number
  /** Round numbers that do not count. */
  readonly uncounted: number
  readonly createdAt: Millis
}

/** A round with its key and the version that compare-and-set guards. */
export type RoundRow = {
  readonly key: RoundKey
  readonly round: Round
  readonly version: number
  readonly createdAt: Millis
  readonly updatedAt: Millis
  /** The revocation that took it back; absent while its result counts. */
  readonly revocation?: number
}

export type RosterRow = {
  readonly node: NodeId
  readonly standing: Standing
  readonly evaluated: boolean
  /** Takes no further part. */
  readonly declined: boolean
}

export type ReviewAssignment = { readonly contribution: Digest; readonly reviewer: NodeId }

/** What a reviewer found, as it signed it; `candidate` is the base with the contribution alone. */
export type ReviewAnswer = ReviewAssignment & {
  readonly languages: readonly LanguageEvaluation[]
  readonly report: string
  readonly signature: Signature
  readonly at: Millis
}

/** A contribution as its reviewer needs it. `languages`: those that both were trained on. */
export type AskedReview = {
  readonly contribution: Digest
  readonly payload: Digest
  readonly bytes: number
  readonly languages: readonly LanguageTag[]
  readonly answered: boolean
}

/** A review, asked for. `languages`: null until it is answered. */
export type ReviewRow = ReviewAssignment & { readonly languages: readonly LanguageEvaluation[] | null }

/** Mean loss in nats per token with its standard error over sequences. */
export type ScoreRow = { readonly mean: number; readonly standardError: number; readonly tokens: number }

export type LanguageReportRow = {
  readonly language: LanguageTag
  /** Empty when none is declared. */
  readonly community: string
  readonly tokens: number
  readonly documents: number
  /** Base on the node's held-out text; `tokens` are the held-out tokens, the same in both. */
  readonly before: ScoreRow
  readonly after: ScoreRow
}

/** A decided weight; `decision` is null for rounds merged by a build that kept none. */
export type WeightRow = { readonly value: number; readonly reason: string; readonly decision: WeightRecord | null }

export type ContributionRow = {
  /** Digest of the signed manifest. */
  readonly id: Digest
  readonly key: RoundKey
  readonly node: NodeId
  /** Canonical JSON that the node signed. */
  readonly manifest: string
  readonly signature: Signature
  /** Hex. */
  readonly nonce: string
  readonly payload: Digest
  readonly bytes: number
  readonly norm: number
  /** Null before sealing. */
  readonly weight: WeightRow | null
  readonly languages: readonly LanguageReportRow[]
  /** Empty when it names no records. */
  readonly records: readonly RecordTokensRow[]
  readonly acceptedAt: Millis
  /** The revocation that revoked it; absent while it stands. */
  readonly revocation?: number
}

export type RejectionRow = {
  /** Null when the submission named no round that exists. */
  readonly key: RoundKey | null
  readonly node: NodeId
  readonly kind: 'upload' | 'contribution' | 'evaluation' | 'review'
  readonly reason: RejectionReason
  readonly detail: string
  readonly at: Millis
}

export type EvaluationRow = {
  readonly key: RoundKey
  readonly measuredBy: NodeId | 'coordinator'
  readonly language: LanguageTag
  readonly community: string
  readonly base: ScoreRow
  readonly candidate: ScoreRow
  /** Null when only means were told. */
  readonly paired: PairedEvidence | null
  /** The signed report; null when the coordinator measured. */
  readonly report: { readonly text: string; readonly signature: Signature } | null
  readonly at: Millis
}

/** An operator record that stands or stood. */
export type OperatorRecordRow = {
  readonly version: number
  readonly digest: Digest
  /** Canonical JSON of the record. */
  readonly record: string
  /** By the federation's authority. */
  readonly signature: Signature
  readonly at: Millis
}

/** One operator's signature on something that takes several. */
export type EndorsementRow = {
  readonly subject: string
  readonly keyId: string
  /** Canonical JSON that was signed. */
  readonly statement: string
  readonly signature: Signature
  readonly at: Millis
}

export type UploadRow = {
  readonly digest: Digest
  readonly size: number
  readonly node: NodeId
  readonly createdAt: Millis
}

export const SUMMARY_KEYS = ['language', 'community', 'node', 'member', 'jurisdiction', 'round'] as const
export type SummaryBy = (typeof SUMMARY_KEYS)[number]

/** One row of the accounts. `key`: empty where no community or jurisdiction was declared. */
export type SummaryRow = {
  readonly key: string
  readonly accepted: number
  readonly rejected: number
  /** By reason; they add up to `rejected`. */
  readonly refusals: Readonly<Record<string, number>>
  /** Shares in merges, added up: a contribution in several groups counts to each by its tokens. */
  readonly weight: number
  /** `weight` by the number of contributions that were weighed; null without any. */
  readonly meanWeight: number | null
  readonly tokens: number
  readonly documents: number
  /** Token-weighted means over accepted contributions; null without any. */
  readonly lossBefore: number | null
  readonly lossAfter: number | null
}

export type RoundFilter = { readonly run?: RunId; readonly phases?: readonly Phase[]; readonly limit: number }

/** Counts of what there is at a moment, for whoever watches. Names are those of the rows: phases, states, reasons. */
export type Census = {
  readonly at: Millis
  readonly rounds: ReadonlyMap<string, number>
  /** Live rounds whose deadline passed more than a minute ago: nobody sweeps. */
  readonly overdueRounds: number
  readonly nodes: ReadonlyMap<string, number>
  readonly jobs: readonly { readonly kind: string; readonly state: string; readonly count: number }[]
  /** Age of the oldest job that is not done; 0 without one. */
  readonly oldestJobSeconds: number
  readonly accepted: number
  /** Refused updates by reason. */
  readonly refused: ReadonlyMap<string, number>
  readonly checkpoints: number
  readonly logEntries: number
  /** Committed entries of the log that have no number yet. */
  readonly pendingEntries: number
}
