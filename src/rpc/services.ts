import type { Server } from '@grpc/grpc-js'
import type { Context, ReleaseSigner } from '../context.ts'
import { ArtifactService } from '../gen/proto/tapestry/v1/artifact_pb.ts'
import { ContributionService } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { LedgerService } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import { NodeService } from '../gen/proto/tapestry/v1/node_pb.ts'
import { OperatorService } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { RecordService } from '../gen/proto/tapestry/v1/record_pb.ts'
import { RevocationService } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import { RoundService } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { PublicLog } from '../store/public-log.ts'
import { addService, clientStream, type RpcContext, serverStream, unary } from './adapter.ts'
import { adviseRecords } from './advise-records.ts'
import { announceArtifact, downloadArtifact, uploadArtifact } from './artifact.ts'
import type { CertificateIssuer } from './certificate.ts'
import { changeKeys } from './change-keys.ts'
import { createInvitation } from './create-invitation.ts'
import { createRun } from './create-run.ts'
import { declarePause } from './declare-pause.ts'
import { declineRound } from './decline-round.ts'
import { ejectNode } from './eject-node.ts'
import { enroll } from './enroll.ts'
import { getAttestation } from './get-attestation.ts'
import { getCheckpoint } from './get-checkpoint.ts'
import { getConsistencyProof } from './get-consistency-proof.ts'
import { getFederation } from './get-federation.ts'
import { getInclusionProof } from './get-inclusion-proof.ts'
import { getKeyChain } from './get-key-chain.ts'
import { getLogCheckpoint } from './get-log-checkpoint.ts'
import { getOperators } from './get-operators.ts'
import { getPlan } from './get-plan.ts'
import { getReceipt } from './get-receipt.ts'
import { getRound } from './get-round.ts'
import { joinRound } from './join-round.ts'
import { leaveFederation } from './leave-federation.ts'
import { listChannels } from './list-channels.ts'
import { listCheckpoints } from './list-checkpoints.ts'
import { listEntries } from './list-entries.ts'
import { listJobs } from './list-jobs.ts'
import { listNodes } from './list-nodes.ts'
import { listRecords } from './list-records.ts'
import { listReviews } from './list-reviews.ts'
import { listRevocations } from './list-revocations.ts'
import { listRounds } from './list-rounds.ts'
import { listRuns } from './list-runs.ts'
import { overrideRound } from './override-round.ts'
import { registerRecord } from './register-record.ts'
import { reinstateNode } from './reinstate-node.ts'
import { renewCertificate } from './renew-certificate.ts'
import { requestRevocation } from './request-revocation.ts'
import { retryJob } from './retry-job.ts'
import type { RoundFeed } from './round-feed.ts'
import { setOperators } from './set-operators.ts'
import { startRound } from './start-round.ts'
import { submitContribution } from './submit-contribution.ts'
import { submitEvaluation } from './submit-evaluation.ts'
import { submitReview } from './submit-review.ts'
import { summarizeContributions } from './summarize-contributions.ts'
import { suspendNode } from './suspend-node.ts'
import { watchRounds } from './watch-rounds.ts'
import { withdrawRecord } from './withdraw-record.ts'

/** What the handlers need besides the context. */
export type Services = {
  readonly context: Context
  readonly rpc: RpcContext
  readonly feed: RoundFeed
  readonly issuer: CertificateIssuer
  readonly signer: ReleaseSigner
  readonly log: PublicLog
  /** `host:port` that invitations carry, once it is known. */
  readonly address: () => string
}

/** Registers every method of the protocol. */
export function addServices(server: Server, services: Services): void {
  addParticipantServices(server, services)
  addNodeService(server, services)
  addRecordService(server, services)
  addRevocationService(server, services)
  addPublicServices(server, services)
  addLedgerService(server, services)
  addOperatorService(server, services)
}

function addParticipantServices(server: Server, { context, rpc, feed, log }: Services): void {
  const rounds = RoundService.method
  addService(server, RoundService, {
    watchRounds: serverStream(rpc, rounds.watchRounds, (request, principal, signal) =>
      watchRounds(context, feed, request, principal, signal),
    ),
    joinRound: unary(rpc, rounds.joinRound, (request, principal) => joinRound(context, request, principal)),
    declineRound: unary(rpc, rounds.declineRound, (request, principal) => declineRound(context, request, principal)),
    getRound: unary(rpc, rounds.getRound, (request) => getRound(context, request)),
    listRounds: unary(rpc, rounds.listRounds, (request) => listRounds(context, request)),
  })
  const contributions = ContributionService.method
  addService(server, ContributionService, {
    submitContribution: unary(rpc, contributions.submitContribution, (request, principal) =>
      submitContribution(context, log, request, principal),
    ),
    submitEvaluation: unary(rpc, contributions.submitEvaluation, (request, principal) =>
      submitEvaluation(context, request, principal),
    ),
    listReviews: unary(rpc, contributions.listReviews, (request, principal) =>
      listReviews(context, request, principal),
    ),
    submitReview: unary(rpc, contributions.submitReview, (request, principal) =>
      submitReview(context, request, principal),
    ),
    summarizeContributions: unary(rpc, contributions.summarizeContributions, (request, principal) =>
      summarizeContributions(context, request, principal),
    ),
  })
}

function addPublicServices(server: Server, { context, rpc, issuer, log }: Services): void {
  const artifacts = ArtifactService.method
  addService(server, ArtifactService, {
    announceArtifact: unary(rpc, artifacts.announceArtifact, (request, principal) =>
      announceArtifact(context, request, principal),
    ),
    uploadArtifact: clientStream(rpc, artifacts.uploadArtifact, (requests, principal) =>
      uploadArtifact(context, requests, principal),
    ),
    downloadArtifact: serverStream(rpc, artifacts.downloadArtifact, (request, principal) =>
      downloadArtifact(context, request, principal),
    ),
  })
  const enrollment = EnrollmentService.method
  addService(server, EnrollmentService, {
    getFederation: unary(rpc, enrollment.getFederation, () => getFederation(context, log)),
    enroll: unary(rpc, enrollment.enroll, (request) => enroll(context, issuer, request)),
    renewCertificate: unary(rpc, enrollment.renewCertificate, (request, principal) =>
      renewCertificate(context, issuer, request, principal),
    ),
  })
  const models = ModelService.method
  addService(server, ModelService, {
    listChannels: unary(rpc, models.listChannels, () => listChannels(context)),
    listCheckpoints: unary(rpc, models.listCheckpoints, (request) => listCheckpoints(context, request)),
    getCheckpoint: unary(rpc, models.getCheckpoint, (request) => getCheckpoint(context, request)),
    getAttestation: unary(rpc, models.getAttestation, (request) => getAttestation(context, request)),
    getPlan: unary(rpc, models.getPlan, (request) => getPlan(context, request)),
  })
}

function addNodeService(server: Server, { context, rpc, issuer }: Services): void {
  const node = NodeService.method
  addService(server, NodeService, {
    declarePause: unary(rpc, node.declarePause, (request, principal) => declarePause(context, request, principal)),
    leaveFederation: unary(rpc, node.leaveFederation, (request) => leaveFederation(context, request)),
    changeKeys: unary(rpc, node.changeKeys, (request) => changeKeys(context, issuer, request)),
    getKeyChain: unary(rpc, node.getKeyChain, (request) => getKeyChain(context, request)),
  })
}

function addLedgerService(server: Server, { context, rpc, log }: Services): void {
  const ledger = LedgerService.method
  addService(server, LedgerService, {
    getLogCheckpoint: unary(rpc, ledger.getLogCheckpoint, () => getLogCheckpoint(log)),
    getInclusionProof: unary(rpc, ledger.getInclusionProof, (request) => getInclusionProof(log, request)),
    getConsistencyProof: unary(rpc, ledger.getConsistencyProof, (request) => getConsistencyProof(log, request)),
    listEntries: unary(rpc, ledger.listEntries, (request) => listEntries(context, request)),
    getReceipt: unary(rpc, ledger.getReceipt, (request) => getReceipt(log, request)),
  })
}

function addRecordService(server: Server, { context, rpc }: Services): void {
  const records = RecordService.method
  addService(server, RecordService, {
    registerRecord: unary(rpc, records.registerRecord, (request, principal) =>
      registerRecord(context, request, principal),
    ),
    withdrawRecord: unary(rpc, records.withdrawRecord, (request, principal) =>
      withdrawRecord(context, request, principal),
    ),
    listRecords: unary(rpc, records.listRecords, (request, principal) => listRecords(context, request, principal)),
    adviseRecords: unary(rpc, records.adviseRecords, (request, principal) =>
      adviseRecords(context, request, principal),
    ),
  })
}

function addRevocationService(server: Server, { context, rpc }: Services): void {
  const { requestRevocation: request, listRevocations: list } = RevocationService.method
  addService(server, RevocationService, {
    requestRevocation: unary(rpc, request, (message, principal) => requestRevocation(context, message, principal)),
    listRevocations: unary(rpc, list, (message, principal) => listRevocations(context, message, principal)),
  })
}

function addOperatorService(server: Server, { context, rpc, issuer, signer, address }: Services): void {
  const operator = OperatorService.method
  addService(server, OperatorService, {
    createInvitation: unary(rpc, operator.createInvitation, (request) => createInvitation(context, address(), request)),
    createRun: unary(rpc, operator.createRun, (request) => createRun(context, signer, request)),
    listRuns: unary(rpc, operator.listRuns, () => listRuns(context)),
    startRound: unary(rpc, operator.startRound, (request) => startRound(context, request)),
    listNodes: unary(rpc, operator.listNodes, () => listNodes(context)),
    suspendNode: unary(rpc, operator.suspendNode, (request) => suspendNode(context, request)),
    reinstateNode: unary(rpc, operator.reinstateNode, (request) => reinstateNode(context, request)),
    ejectNode: unary(rpc, operator.ejectNode, (request) => ejectNode(context, request)),
    listJobs: unary(rpc, operator.listJobs, (request) => listJobs(context, request)),
    retryJob: unary(rpc, operator.retryJob, (request) => retryJob(context, request)),
    setOperators: unary(rpc, operator.setOperators, (request) => setOperators(context, issuer, request)),
    getOperators: unary(rpc, operator.getOperators, () => getOperators(context)),
    overrideRound: unary(rpc, operator.overrideRound, (request) => overrideRound(context, request)),
  })
}
