import type { Context } from '../context.ts'
import type { RenewCertificateRequest } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import type { NodePrincipal } from './auth.ts'
import { type CertificateIssuer, issueFor } from './certificate.ts'

/** Issues the calling node's next client certificate. */
export async function renewCertificate(
  context: Context,
  issuer: CertificateIssuer,
  request: RenewCertificateRequest,
  { node }: NodePrincipal,
) {
  return { certificate: await issueFor(context, issuer, node, request) }
}
