import type { DescMethod } from '@bufbuild/protobuf'
import type { Context } from '../context.ts'
import { assertNever } from '../core/assert.ts'
import { TapestryError } from '../core/error.ts'
import { methodPath, type RequestOf } from '../core/grpc-service.ts'
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
import { identifyCaller, type NodePrincipal, type OperatorPrincipal, type Principal } from '../store/principal.ts'

export type { AnyonePrincipal, NodePrincipal, OperatorPrincipal, Principal } from '../store/principal.ts'

/** Every service of the protocol by its full name. */
export const SERVICES = {
  'tapestry.v1.ArtifactService': ArtifactService,
  'tapestry.v1.ContributionService': ContributionService,
  'tapestry.v1.EnrollmentService': EnrollmentService,
  'tapestry.v1.LedgerService': LedgerService,
  'tapestry.v1.ModelService': ModelService,
  'tapestry.v1.NodeService': NodeService,
  'tapestry.v1.OperatorService': OperatorService,
  'tapestry.v1.RecordService': RecordService,
  'tapestry.v1.RevocationService': RevocationService,
  'tapestry.v1.RoundService': RoundService,
} as const

type ServiceName = keyof typeof SERVICES
/** The paths of every method of every service: a new method does not compile until it has an access rule. */
export type MethodPath = {
  [S in ServiceName]: `/${S}/${Capitalize<keyof (typeof SERVICES)[S]['method'] & string>}`
}[ServiceName]

export type Access = 'anyone' | 'node' | 'operator' | 'node-or-operator'

/** Who may call what. There is no default: what is not here is refused. */
export const METHOD_ACCESS = {
  '/tapestry.v1.ArtifactService/AnnounceArtifact': 'node',
  '/tapestry.v1.ArtifactService/UploadArtifact': 'node',
  // Open, because released files are; its handler shows everything else to nodes and operators only.
  '/tapestry.v1.ArtifactService/DownloadArtifact': 'anyone',
  '/tapestry.v1.ContributionService/SubmitContribution': 'node',
  '/tapestry.v1.ContributionService/SubmitEvaluation': 'node',
  '/tapestry.v1.ContributionService/ListReviews': 'node',
  '/tapestry.v1.ContributionService/SubmitReview': 'node',
  '/tapestry.v1.ContributionService/SummarizeContributions': 'node-or-operator',
  '/tapestry.v1.EnrollmentService/GetFederation': 'anyone',
  '/tapestry.v1.EnrollmentService/Enroll': 'anyone',
  '/tapestry.v1.EnrollmentService/RenewCertificate': 'node',
  // The log is public: it holds hashes, ids and declared metadata, nothing else.
  '/tapestry.v1.LedgerService/GetLogCheckpoint': 'anyone',
  '/tapestry.v1.LedgerService/GetInclusionProof': 'anyone',
  '/tapestry.v1.LedgerService/GetConsistencyProof': 'anyone',
  '/tapestry.v1.LedgerService/ListEntries': 'anyone',
  '/tapestry.v1.LedgerService/GetReceipt': 'anyone',
  '/tapestry.v1.ModelService/ListChannels': 'anyone',
  '/tapestry.v1.ModelService/ListCheckpoints': 'anyone',
  '/tapestry.v1.ModelService/GetCheckpoint': 'anyone',
  '/tapestry.v1.ModelService/GetAttestation': 'anyone',
  '/tapestry.v1.ModelService/GetPlan': 'anyone',
  '/tapestry.v1.NodeService/DeclarePause': 'node',
  // Open, because a signature is what counts: nobody needs a permission, or a certificate that still lasts, to go.
  '/tapestry.v1.NodeService/LeaveFederation': 'anyone',
  '/tapestry.v1.NodeService/ChangeKeys': 'anyone',
  // Public keys and digests, for a node that has lost its certificate with its key.
  '/tapestry.v1.NodeService/GetKeyChain': 'anyone',
  '/tapestry.v1.OperatorService/CreateInvitation': 'operator',
  '/tapestry.v1.OperatorService/CreateRun': 'operator',
  '/tapestry.v1.OperatorService/ListRuns': 'operator',
  '/tapestry.v1.OperatorService/StartRound': 'operator',
  '/tapestry.v1.OperatorService/ListNodes': 'operator',
  '/tapestry.v1.OperatorService/SuspendNode': 'operator',
  '/tapestry.v1.OperatorService/ReinstateNode': 'operator',
  '/tapestry.v1.OperatorService/EjectNode': 'operator',
  '/tapestry.v1.OperatorService/ListJobs': 'operator',
  '/tapestry.v1.OperatorService/RetryJob': 'operator',
  '/tapestry.v1.OperatorService/SetOperators': 'operator',
  '/tapestry.v1.OperatorService/GetOperators': 'operator',
  '/tapestry.v1.OperatorService/OverrideRound': 'operator',
  '/tapestry.v1.RecordService/RegisterRecord': 'node',
  '/tapestry.v1.RecordService/WithdrawRecord': 'node',
  // Open, because public records are; its handler shows the others to their node and to operators only.
  '/tapestry.v1.RecordService/ListRecords': 'anyone',
  '/tapestry.v1.RecordService/AdviseRecords': 'node',
  // A node for what is its own: the handlers see to that.
  '/tapestry.v1.RevocationService/RequestRevocation': 'node-or-operator',
  '/tapestry.v1.RevocationService/ListRevocations': 'node-or-operator',
  '/tapestry.v1.RoundService/WatchRounds': 'node-or-operator',
  '/tapestry.v1.RoundService/JoinRound': 'node',
  '/tapestry.v1.RoundService/DeclineRound': 'node',
  '/tapestry.v1.RoundService/GetRound': 'node-or-operator',
  '/tapestry.v1.RoundService/ListRounds': 'node-or-operator',
} as const satisfies Record<MethodPath, Access>

type PrincipalByAccess = {
  anyone: Principal
  node: NodePrincipal
  operator: OperatorPrincipal
  'node-or-operator': NodePrincipal | OperatorPrincipal
}

/** A method's name by type: the protocol's lint rule makes `<Rpc>Request` the request of exactly one method. */
type RpcName<M extends DescMethod> = RequestOf<M>['$typeName'] extends `tapestry.v1.${infer Name}Request` ? Name : never
type AccessOf<M extends DescMethod> = (typeof METHOD_ACCESS)[Extract<MethodPath, `/${string}/${RpcName<M>}`>]

/** Who can have got through to a method's handler. */
export type PrincipalOf<M extends DescMethod> = PrincipalByAccess[AccessOf<M>]

export type AuthContext = Pick<Context, 'federation' | 'clock'> & {
  readonly store: { readonly reader: Pick<Context['store']['reader'], 'node'> }
}

/**
 * Lets a call through or refuses it.
 * @param certificate the peer's verified certificate (DER), if there is one.
 * @throws TapestryError UNAUTHENTICATED without a usable certificate; PERMISSION_DENIED for the wrong kind of
 *   caller, a suspended node, or a method without an access rule.
 */
export async function authorize<M extends DescMethod>(
  ctx: AuthContext,
  method: M,
  certificate: Uint8Array | undefined,
): Promise<PrincipalOf<M>> {
  const caller = await identifyCaller(ctx.store.reader, ctx.federation, certificate, ctx.clock.now())
  const principal: Principal = caller.kind === 'barred' ? { kind: 'anyone' } : caller
  if (permits(method, principal)) return principal
  if (caller.kind === 'barred') throw new TapestryError('PERMISSION_DENIED', `this node is ${caller.node.status}`)
  if (caller.kind === 'anyone') {
    throw new TapestryError('UNAUTHENTICATED', `${method.name} needs a valid client certificate of this federation`, {
      hint: 'enrol with an invitation, or renew the certificate',
    })
  }
  throw new TapestryError('PERMISSION_DENIED', `${method.name} is not open to ${caller.kind}s`)
}

const RULES: ReadonlyMap<string, Access> = new Map(Object.entries(METHOD_ACCESS))

/** The rule of a method's path; undefined, which permits nobody, for a method without one. */
export function accessOf(method: DescMethod): Access | undefined {
  return RULES.get(methodPath(method))
}

function permits<M extends DescMethod>(method: M, principal: Principal): principal is Principal & PrincipalOf<M> {
  const access = accessOf(method)
  switch (access) {
    case undefined:
      return false
    case 'anyone':
      return true
    case 'node':
    case 'operator':
      return principal.kind === access
    case 'node-or-operator':
      return principal.kind !== 'anyone'
    default:
      return assertNever(access)
  }
}
