import type { Diagnostics } from '../aggregation/diagnostics.ts'
import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { ChannelName, MemberId, NodeId, RecordId, RoundKey, RunId } from '../core/ids.ts'
import type { Jurisdiction } from '../core/jurisdiction.ts'
import type { Signature } from '../core/signature.ts'
import type { SignedKeyRecord } from '../identity/key-chain.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import type { TreeHead } from '../ledger/proof.ts'
import type { Tile } from '../ledger/tile.ts'
import type { Override } from '../model/override.ts'
import type { Summary } from '../model/summary.ts'
import type { TrainingShare } from '../model/training-content.ts'
import type { BlobHolder } from '../policy/blob-holder.ts'
import type { NodeStatus } from '../policy/membership.ts'
import type { GateRecord } from '../policy/release.ts'
import type { RevocationPlan } from '../policy/revocation.ts'
import type { Phase, Round } from '../round/round.ts'
import type { Standing, Work } from '../round/step.ts'
import type {
  AskedReview,
  AttestationRow,
  Census,
  ChannelRow,
  CheckpointFileRow,
  CheckpointRow,
  ContributionRow,
  DatasetRecordFilter,
  DatasetRecordRow,
  EndorsementRow,
  EvaluationRow,
  FederationRow,
  InvitationRow,
  JobKind,
  JobRow,
  LeasedJob,
  LineRow,
  MemberRow,
  NewNodeRow,
  NodeRow,
  OperatorRecordRow,
  RejectionRow,
  ReviewAnswer,
  ReviewAssignment,
  ReviewRow,
  RevocationRow,
  RosterRow,
  RoundFilter,
  RoundRow,
  RunRow,
  SummaryBy,
  SummaryRow,
  UploadRow,
  WeightRow,
  WithdrawalRow,
} from './records.ts'

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
  /** Every withdrawn record of every node of the member. */
  withdrawnRecords(member: MemberId): Promise<readonly DatasetRecordRow[]>
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
  /** Nodes with an accepted contribution of this payload. */
  payloadOwners(payload: Digest): Promise<readonly NodeId[]>
  /** True when a contribution of this payload was revoked: its bytes are deleted, and never taken again. */
  isRevoked(payload: Digest): Promise<boolean>
  /** Everything that needs one of these blobs, or needed it until it was taken back. */
  blobHolders(digests: readonly Digest[]): Promise<readonly BlobHolder[]>
  upload(digest: Digest): Promise<UploadRow | undefined>
  /** Undefined when nothing was kept, or by a build that said other things. */
  inspection(digest: Digest): Promise<Summary | undefined>
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
  ledgerEntryAbout(subject: string): Promise<{ readonly index: number; readonly entry: Uint8Array } | undefined>
}

/** One transaction's hands. Every method takes the time from its caller. */
export type Tx = Reader & {
  createFederation(row: FederationRow): Promise<void>
  /** @throws TapestryError FAILED_PRECONDITION when another jurisdiction has been declared for it. */
  ensureMember(id: MemberId, now: Millis, jurisdiction?: Jurisdiction): Promise<void>
  /** Inserts. False for a record that is there already: it stays as it is. */
  createDatasetRecord(row: Omit<DatasetRecordRow, 'member' | 'withdrawnAt'>): Promise<boolean>
  /** Marks every record of a dataset that still stands. @returns their digests, in order. */
  withdrawDatasetRecords(row: WithdrawalRow): Promise<readonly Digest[]>
  createInvitation(row: InvitationRow, now: Millis): Promise<void>
  invitation(secretHash: string): Promise<InvitationRow | undefined>
  useInvitation(secretHash: string, node: NodeId, now: Millis): Promise<void>
  createNode(row: NewNodeRow): Promise<void>
  /** @param reason an operator's; null for the node's own doing. */
  setNodeStatus(id: NodeId, status: NodeStatus, reason: string | null, now: Millis): Promise<void>
  setPaused(id: NodeId, since: Millis | null): Promise<void>
  setDeparture(id: NodeId, departure: { readonly text: string; readonly signature: Signature }): Promise<void>
  /** Adds change `number` to a node's chain, and makes its node key the present one (PEM). */
  addKeyChange(id: NodeId, number: number, nodeKey: string, change: SignedKeyRecord, now: Millis): Promise<void>
  createRun(row: RunRow): Promise<void>
  /** Compare-and-set on roundsStarted: true when it was `expected` and is now one more. */
  advanceRun(id: RunId, expected: number): Promise<boolean>
  setRunHead(id: RunId, head: Digest): Promise<void>
  /** Puts a run back to where it was; see {@link RunRow}. */
  returnRun(id: RunId, place: Pick<RunRow, 'head' | 'roundsStarted' | 'uncounted'>): Promise<void>
  createRound(key: RoundKey, round: Round, now: Millis, work?: readonly Work[]): Promise<void>
  /**
   * Compare-and-set on the version, and the jobs that the step asked for, in one statement each.
   * Also notifies watchers after the commit. @throws a conflict (retried by transact) when the version moved.
   */
  saveRound(row: RoundRow, next: Round, work: readonly Work[], now: Millis): Promise<void>
  addToRoster(key: RoundKey, node: NodeId, now: Millis): Promise<void>
  setStanding(key: RoundKey, node: NodeId, standing: Standing): Promise<void>
  setEvaluated(key: RoundKey, node: NodeId): Promise<void>
  setDeclined(key: RoundKey, node: NodeId): Promise<void>
  /** As if it had never joined: for rounds that are open. */
  removeFromRoster(key: RoundKey, node: NodeId): Promise<void>
  createContribution(row: ContributionRow): Promise<void>
  contributionByNonce(node: NodeId, nonce: string): Promise<ContributionRow | undefined>
  /** Takes an accepted contribution away. @returns its id; undefined when there is none. */
  removeContribution(key: RoundKey, node: NodeId): Promise<Digest | undefined>
  setWeight(id: Digest, weight: WeightRow): Promise<void>
  createRejection(row: RejectionRow): Promise<void>
  createRevocation(row: RevocationRow): Promise<void>
  /** Replaces state and notice. */
  saveRevocation(row: RevocationRow): Promise<void>
  /** Marks contributions, rounds and checkpoints with the revocation that takes them back. */
  takeBack(revocation: RoundKey, plan: RevocationPlan): Promise<void>
  /** The contributions that a revision is to merge again. */
  createRemerge(revision: RoundKey, contributions: readonly Digest[]): Promise<void>
  setRemergeWeight(revision: RoundKey, contribution: Digest, weight: WeightRow): Promise<void>
  /** Inserts or, for the same measurer, language and community, replaces. */
  putEvaluations(rows: readonly EvaluationRow[]): Promise<void>
  createReviews(key: RoundKey, rows: readonly ReviewAssignment[]): Promise<void>
  answerReview(answer: ReviewAnswer): Promise<void>
  /** Asks a reviewer no longer for what it has not answered. */
  withdrawReviews(key: RoundKey, reviewer: NodeId): Promise<void>
  /** Inserts or replaces. */
  putDiagnostics(key: RoundKey, report: Diagnostics, now: Millis): Promise<void>
  /** Inserts or replaces. */
  putGateRecord(key: RoundKey, record: GateRecord, now: Millis): Promise<void>
  createOperatorRecord(row: OperatorRecordRow): Promise<void>
  /** Inserts or, for the same subject and key, replaces. */
  putEndorsement(row: EndorsementRow): Promise<void>
  /** Inserts or replaces. */
  putReleaseOverride(key: RoundKey, proof: Override, now: Millis): Promise<void>
  createCheckpoint(row: CheckpointRow): Promise<void>
  createAttestations(checkpoint: Digest, rows: readonly AttestationRow[]): Promise<void>
  moveChannel(name: ChannelName, checkpoint: Digest, now: Millis): Promise<void>
  putUpload(row: UploadRow): Promise<void>
  removeUpload(digest: Digest): Promise<void>
  /** Inserts or replaces. */
  putInspection(digest: Digest, summary: Summary, now: Millis): Promise<void>
  /**
   * Writes an entry into the log, for ever once the transaction commits. Its number follows the commit, so that
   * transactions do not wait for each other. @throws TapestryError INVALID_ARGUMENT for one over 65,535 bytes.
   */
  appendToLedger(event: LedgerEvent, now: Millis): Promise<void>
  /** Binds the log to the key that signs it. @returns whether it was bound to none before. @throws TapestryError FAILED_PRECONDITION for another key. */
  bindLedgerKey(keyId: string): Promise<boolean>
  /** Makes the job of a revocation ready, also when it was done before: there is more to do. */
  askForRevocation(revocation: RoundKey, now: Millis): Promise<void>
  /**
   * Leases the oldest job that is ready, or whose lease has ended; undefined when there is none.
   * @param holder tells operators which process has it.
   */
  leaseJob(kinds: readonly JobKind[], now: Millis, leaseMs: number, holder?: string): Promise<LeasedJob | undefined>
  /** False when the lease was lost. */
  renewLease(job: LeasedJob, now: Millis, leaseMs: number): Promise<boolean>
  /** False when the lease was lost: the caller must then roll back by throwing. */
  finishJob(job: LeasedJob, now: Millis): Promise<boolean>
  /**
   * Back to ready, or abandoned when `attempts` has reached `mostAttempts`: then for `holdMs` an operator may ask for it
   * again. False when the lease was lost.
   */
  failJob(
    job: LeasedJob,
    error: string,
    limits: { readonly mostAttempts: number; readonly holdMs: number },
    now: Millis,
  ): Promise<'ready' | 'abandoned' | false>
  /** Makes an abandoned job ready, as if it had never been tried. False when it is not abandoned, or given up. */
  retryJob(id: string, now: Millis): Promise<boolean>
  /** Ends the wait for an operator. False when it has not been long enough, or somebody else ended it. */
  giveUpJob(id: string, now: Millis): Promise<boolean>
}

/** What changed, told to whoever listens. Delivery is a hint: listeners also poll. */
export type Notice = { readonly kind: 'round'; readonly key: RoundKey } | { readonly kind: 'job'; readonly id: string }

/** How many connections a pool has, how many of them rest, and how many callers wait for one. */
export type PoolUse = { readonly open: number; readonly idle: number; readonly waiting: number }

export type Store = {
  readonly reader: Reader
  /**
   * Runs `work` in one serializable transaction, from the start again on a conflict, at most a
   * bounded number of times. `work` does no network calls and no file I/O: it may run twice.
   * @param name names the transaction in logs, such as `submit-contribution`.
   * @throws TapestryError UNAVAILABLE when the database cannot be reached or conflicts do not end.
   */
  transact<T>(name: string, work: (tx: Tx) => Promise<T>): Promise<T>
  /**
   * Numbers the entries that were committed before the call, in the order of their arrival, and grows the tree by them.
   * Any number of processes may call it at once, and any number of times.
   */
  numberEntries(): Promise<void>
  /** Calls back for every notice until the returned function is called. Reconnects by itself. */
  listen(onNotice: (notice: Notice) => void): Promise<() => Promise<void>>
  /** True when the database answers. */
  ready(): Promise<boolean>
  /** Connections of this process's pool, and who waits for one. */
  pool(): PoolUse
  close(): Promise<void>
}
