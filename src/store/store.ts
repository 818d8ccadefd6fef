import type { Diagnostics } from '../aggregation/diagnostics.ts'
import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { ChannelName, MemberId, NodeId, RoundKey, RunId } from '../core/ids.ts'
import type { Jurisdiction } from '../core/jurisdiction.ts'
import type { Signature } from '../core/signature.ts'
import type { SignedKeyRecord } from '../identity/key-chain.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import type { Override } from '../model/override.ts'
import type { Summary } from '../model/summary.ts'
import type { NodeStatus } from '../policy/membership.ts'
import type { GateRecord } from '../policy/release.ts'
import type { RevocationPlan } from '../policy/revocation.ts'
import type { Round } from '../round/round.ts'
import type { Standing, Work } from '../round/step.ts'
import type { AttestationRow, CheckpointRow, RevocationRow } from './checkpoint-row.ts'
import type { JobKind, LeasedJob } from './job-row.ts'
import type { Reader } from './reader.ts'
import type {
  ContributionRow,
  DatasetRecordRow,
  EndorsementRow,
  EvaluationRow,
  FederationRow,
  InvitationRow,
  NewNodeRow,
  OperatorRecordRow,
  RejectionRow,
  ReviewAnswer,
  ReviewAssignment,
  RoundRow,
  RunRow,
  UploadRow,
  WeightRow,
  WithdrawalRow,
} from './records.ts'

export type AnnouncedBytes = { readonly node: NodeId; readonly bytes: number; readonly most: number }
export type CountedBytes = { readonly counted: boolean; readonly until: Millis | null }

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
  addToRoster(key: RoundKey, nodes: readonly NodeId[], now: Millis): Promise<void>
  setStanding(key: RoundKey, nodes: readonly NodeId[], standing: Standing): Promise<void>
  setEvaluated(key: RoundKey, node: NodeId): Promise<void>
  setDeclined(key: RoundKey, node: NodeId): Promise<void>
  /** As if it had never joined: for rounds that are open. */
  removeFromRoster(key: RoundKey, node: NodeId): Promise<void>
  createContributions(rows: readonly ContributionRow[]): Promise<void>
  contributionByNonce(node: NodeId, nonce: string): Promise<ContributionRow | undefined>
  /** Takes an accepted contribution away. @returns its id; undefined when there is none. */
  removeContribution(key: RoundKey, node: NodeId): Promise<Digest | undefined>
  setWeights(weights: readonly { readonly id: Digest; readonly weight: WeightRow }[]): Promise<void>
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
  putUploads(rows: readonly UploadRow[]): Promise<void>
  removeUploads(digests: readonly Digest[]): Promise<void>
  /**
   * Adds bytes to what nodes, each named once, have announced for a round: the one that collects from it, of several that
   * for which it has announced least; otherwise the last that it joined, or none. Not counted is what would make it more than `most`.
   * @returns whether they were counted, and when the round's present phase ends, if it does.
   */
  countAnnounced(announced: readonly AnnouncedBytes[]): Promise<ReadonlyMap<NodeId, CountedBytes>>
  /** Inserts or replaces. */
  putInspections(rows: readonly { readonly digest: Digest; readonly summary: Summary }[], now: Millis): Promise<void>
  /**
   * Writes entries into the log, for ever once the transaction commits. Their numbers follow the commit, so that
   * transactions do not wait for each other. @throws TapestryError INVALID_ARGUMENT for one over 65,535 bytes.
   */
  appendToLedger(events: LedgerEvent | readonly LedgerEvent[], now: Millis): Promise<void>
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

/** What a transaction may rely on: everything it read, or each statement for itself. */
export type Isolation = 'Serializable' | 'ReadCommitted'

export type Store = {
  readonly reader: Reader
  /**
   * Runs `work` in one serializable transaction, from the start again on a conflict, at most a
   * bounded number of times. `work` does no network calls and no file I/O: it may run twice.
   * @param name names the transaction in logs, such as `submit-contribution`.
   * @param isolation `ReadCommitted` only for work that decides nothing from what it reads.
   * @throws TapestryError UNAVAILABLE when the database cannot be reached or conflicts do not end.
   */
  transact<T>(name: string, work: (tx: Tx) => Promise<T>, isolation?: Isolation): Promise<T>
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
