import type { Diagnostics } from '../aggregation/diagnostics.ts'
import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { ChannelName, MemberId, NodeId, RecordId, RoundKey, RunId } from '../core/ids.ts'
import type { SignedKeyRecord } from '../identity/key-chain.ts'
import type { TreeHead } from '../ledger/proof.ts'
import type { Tile } from '../ledger/tile.ts'
import type { Override } from '../model/override.ts'
import type { Summary } from '../model/summary.ts'
import type { TrainingShare } from '../model/training-content.ts'
import type { BlobHolder } from '../policy/blob-holder.ts'
import type { GateRecord } from '../policy/release.ts'
import type { Phase } from '../round/round.ts'
import type { ChannelRow, CheckpointFileRow, CheckpointRow, LineRow, RevocationRow } from './checkpoint-row.ts'
import type { JobRow } from './job-row.ts'
import type {
  AskedReview,
  Census,
  ContributionRow,
  DatasetRecordFilter,
  DatasetRecordRow,
  EndorsementRow,
  EvaluationRow,
  FederationRow,
  MemberRow,
  NodeRow,
  OperatorRecordRow,
  RejectionRow,
  ReviewRow,
  RosterRow,
  RoundFilter,
  RoundRow,
  RunRow,
  SummaryBy,
  SummaryRow,
  UploadRow,
} from './records.ts'

/** An entry of the log as it was written, and its place. */
export type LogEntry = { readonly index: number; readonly entry: Uint8Array }

/** That a node has used a payload in a contribution. */
export type PayloadUse = { readonly payload: Digest; readonly node: NodeId; readonly revoked: boolean }

/** Everything that may be asked and nothing that may be changed: what read-only rooms receive. */
export type Reader = {
  federation(): Promise<FederationRow | undefined>
  node(id: NodeId): Promise<NodeRow | undefined>
  nodes(): Promise<readonly NodeRow[]>
  /** Every change of a node's keys, in order. */
  keyChanges(id: NodeId): Promise<readonly SignedKeyRecord[]>
  member(id: MemberId): Promise<MemberRow | undefined>
  members(): Promise<readonly MemberRow[]>
  /** Those of the digests that are registered. */
  datasetRecords(digests: readonly Digest[]): Promise<readonly DatasetRecordRow[]>
  /** Newest first. */
  findDatasetRecords(filter: DatasetRecordFilter): Promise<readonly DatasetRecordRow[]>
  countDatasetRecords(node: NodeId): Promise<number>
  /** Those of the nodes that have declared something. */
  declaring(nodes: readonly NodeId[]): Promise<ReadonlySet<NodeId>>
  /** Every withdrawn record of every node of the members. */
  withdrawnRecords(members: readonly MemberId[]): Promise<readonly DatasetRecordRow[]>
  run(id: RunId): Promise<RunRow | undefined>
  runs(): Promise<readonly RunRow[]>
  /** Any run that uses the plan. */
  runByPlan(plan: Digest): Promise<RunRow | undefined>
  round(key: RoundKey): Promise<RoundRow | undefined>
  /** Newest first. */
  rounds(filter: RoundFilter): Promise<readonly RoundRow[]>
  /** Live rounds whose deadline is at or before `now`. */
  roundsPastDeadline(now: Millis, limit: number): Promise<readonly RoundRow[]>
  roster(key: RoundKey): Promise<readonly RosterRow[]>
  rosterEntry(key: RoundKey, node: NodeId): Promise<RosterRow | undefined>
  /** Rounds in one of the phases that have the node on their roster. */
  roundsWith(node: NodeId, phases: readonly Phase[]): Promise<readonly RoundKey[]>
  /** Ordered by node id: the merge's fixed order. */
  contributions(key: RoundKey): Promise<readonly ContributionRow[]>
  contributionOf(key: RoundKey, node: NodeId): Promise<ContributionRow | undefined>
  contribution(id: Digest): Promise<ContributionRow | undefined>
  /** Ordered by run, round and node; of one dataset when its id is given. */
  contributionsOf(node: NodeId, dataset?: RecordId): Promise<readonly ContributionRow[]>
  /** What a revision merges again, with the weights that it has there; ordered by round and node. */
  remerged(revision: RoundKey): Promise<readonly ContributionRow[]>
  rejections(key: RoundKey): Promise<readonly RejectionRow[]>
  /** Ordered by measuredBy, language, community. */
  evaluations(key: RoundKey): Promise<readonly EvaluationRow[]>
  /** Who scores what in a round, and what they found; ordered by contribution and reviewer. */
  reviews(key: RoundKey): Promise<readonly ReviewRow[]>
  /** What a node was asked to score in a round. */
  reviewsAsked(key: RoundKey, reviewer: NodeId): Promise<readonly AskedReview[]>
  /** True while the node is to score a contribution of this payload: not once it has, or the round went on. */
  isReviewer(node: NodeId, payload: Digest): Promise<boolean>
  /** Undefined before the merge, and for rounds merged by a build that kept none. */
  diagnostics(key: RoundKey): Promise<Diagnostics | undefined>
  /** Who may override together: the newest record; undefined when there never was any. */
  operatorRecord(): Promise<OperatorRecordRow | undefined>
  /** Every signature on something, in order of key id: also those that no longer count. */
  endorsements(subject: string): Promise<readonly EndorsementRow[]>
  /** Undefined unless enough operators have signed. */
  releaseOverride(key: RoundKey): Promise<Override | undefined>
  /** Undefined before the decision, and for rounds decided by a build that kept none. */
  gateRecord(key: RoundKey): Promise<GateRecord | undefined>
  checkpoint(digest: Digest): Promise<CheckpointRow | undefined>
  checkpointByVersion(run: RunId, version: number): Promise<CheckpointRow | undefined>
  /** Newest first. */
  checkpoints(filter: { readonly run?: RunId; readonly limit: number }): Promise<readonly CheckpointRow[]>
  /** A checkpoint and those that it descends from, newest first. */
  lineTo(checkpoint: Digest): Promise<readonly LineRow[]>
  revocation(key: RoundKey): Promise<RevocationRow | undefined>
  /** Newest first. */
  revocations(filter: {
    readonly run?: RunId
    readonly requestedBy?: NodeId
    readonly limit: number
  }): Promise<readonly RevocationRow[]>
  /** What there is besides a checkpoint's files, by path; nothing for checkpoints from before attestations. */
  attestations(checkpoint: Digest): Promise<readonly CheckpointFileRow[]>
  /** JSON, as text. */
  attestation(checkpoint: Digest, path: string): Promise<string | undefined>
  /** What trained a candidate of this round, and the base and all before it; ordered by member, language, community. */
  trainingShares(key: RoundKey, base: Digest): Promise<readonly TrainingShare[]>
  /** The public records that the contributions behind {@link trainingShares} name; ordered by digest. */
  trainingRecords(key: RoundKey, base: Digest): Promise<readonly DatasetRecordRow[]>
  channel(name: ChannelName): Promise<ChannelRow | undefined>
  channels(): Promise<readonly ChannelRow[]>
  /** True when some published checkpoint lists a file with this digest. */
  isReleased(file: Digest): Promise<boolean>
  /** True while some round evaluates a candidate of which this file is the weights, their index, or a shard. */
  isCandidate(file: Digest): Promise<boolean>
  /** Accepted contributions of these payloads: who made them, and whether one was revoked. */
  payloadUses(payloads: readonly Digest[]): Promise<readonly PayloadUse[]>
  /** Nodes with an accepted contribution of this payload. */
  payloadOwners(payload: Digest): Promise<readonly NodeId[]>
  /** True when a contribution of this payload was revoked: its bytes are deleted, and never taken again. */
  isRevoked(payload: Digest): Promise<boolean>
  /** Everything that needs one of these blobs, or needed it until it was taken back. */
  blobHolders(digests: readonly Digest[]): Promise<readonly BlobHolder[]>
  upload(digest: Digest): Promise<UploadRow | undefined>
  /** Undefined when nothing was kept, or by a build that said other things. */
  inspection(digest: Digest): Promise<Summary | undefined>
  /** Every open upload of these nodes, or of these artifacts. */
  uploadsBeside(rows: readonly Pick<UploadRow, 'node' | 'digest'>[]): Promise<readonly UploadRow[]>
  /** Announced and unfinished, newest first. */
  uploadsOf(node: NodeId): Promise<readonly UploadRow[]>
  jobs(filter: { readonly states?: readonly JobRow['state'][]; readonly limit: number }): Promise<readonly JobRow[]>
  job(id: string): Promise<JobRow | undefined>
  /** Abandoned jobs whose rounds have waited long enough for an operator. */
  jobsToGiveUp(now: Millis, limit: number): Promise<readonly JobRow[]>
  /** Sums over rows; a node's own when `node` is given. */
  summary(by: SummaryBy, filter: { readonly run?: RunId; readonly node?: NodeId }): Promise<readonly SummaryRow[]>
  /** Accepted and refused submissions by reason, for counters. */
  rejectionCounts(): Promise<ReadonlyMap<string, number>>
  /** Names of the migrations that the database has, in their order. */
  migrations(): Promise<readonly string[]>
  /** Counts for whoever watches, `now` being what is late measured by. */
  census(now: Millis): Promise<Census>
  /** The log as far as its entries have numbers; see {@link Store.numberEntries}. */
  ledgerHead(): Promise<TreeHead>
  /** Hashes of a tile, concatenated; fewer than its width where the log does not reach so far. */
  ledgerHashes(tile: Tile & { readonly level: number }): Promise<Uint8Array>
  /** At most `limit` entries from an index on, as they were written. */
  ledgerEntries(start: number, limit: number): Promise<readonly Uint8Array[]>
  /** The first entry about a contribution, a checkpoint or a node. */
  ledgerEntryAbout(subject: string): Promise<LogEntry | undefined>
  /** The first entry about each of the subjects that have one. */
  ledgerEntriesAbout(subjects: readonly string[]): Promise<ReadonlyMap<string, LogEntry>>
}
