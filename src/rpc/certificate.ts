import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, publicKeyFromPem, verifyMessage } from '../core/signature.ts'
import type { Signature } from '../gen/proto/tapestry/v1/common_pb.ts'
import { type Authority, issueClientCertificate } from '../identity/certificate-authority.ts'
import type { NodeRow } from '../store/records.ts'
import { signatureOf } from './message.ts'

/** Short enough that a stolen certificate ages out by itself, long enough to sleep through an outage. */
const CLIENT_CERTIFICATE_MS = 24 * 3_600_000

/** The one secret that the coordinator's RPC side holds. */
export type CertificateIssuer = { readonly authority: Authority }

type CertificateRequest = {
  readonly certificateRequest: Uint8Array
  readonly requestSignature?: Signature | undefined
}

/**
 * Issues a node's next client certificate for a TLS key that the node key vouches for.
 * A certificate only says who calls: whether that node may, the store is asked on every call.
 * @throws TapestryError UNAUTHENTICATED when it does not.
 */
export async function issueFor(
  context: Context,
  issuer: CertificateIssuer,
  node: NodeRow,
  request: CertificateRequest,
): Promise<string> {
  const key = publicKeyFromPem(node.publicKey)
  const signature = signatureOf(request.requestSignature)
  if (!verifyMessage(key, DOMAINS.enrolment, request.certificateRequest, signature)) {
    throw new TapestryError('UNAUTHENTICATED', 'the certificate request is not signed by the node key')
  }
  const identity = { kind: 'node', node: node.id, keys: node.keyChanges } as const
  return issueClientCertificate(
    issuer.authority,
    request.certificateRequest,
    identity,
    context.clock.now(),
    CLIENT_CERTIFICATE_MS,
  )
}
