import type { Context } from '../context.ts'
import { TapestryError } from '../core/error.ts'
import type { FederationId, NodeId } from '../core/ids.ts'
import { type Domain, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import type { Signature as SignatureMessage } from '../gen/proto/tapestry/v1/common_pb.ts'
import type { NodeRow } from '../store/records.ts'
import { signatureOf } from './message.ts'

/**
 * Checks that the calling node itself signed what it hands in, for this federation.
 * @throws TapestryError PERMISSION_DENIED, WRONG_FEDERATION, VERIFICATION_FAILED
 */
export function ensureOwnDocument(
  context: Context,
  node: NodeRow,
  document: { readonly federation: FederationId; readonly node: NodeId },
  signed: { readonly domain: Domain; readonly bytes: Uint8Array; readonly signature: SignatureMessage | undefined },
): Signature {
  if (document.node !== node.id)
    throw new TapestryError('PERMISSION_DENIED', `it names ${document.node}, not the caller`)
  if (document.federation !== context.federation) {
    throw new TapestryError('WRONG_FEDERATION', `it was signed for federation ${document.federation}`)
  }
  const signature = signatureOf(signed.signature)
  if (verifyMessage(publicKeyFromPem(node.publicKey), signed.domain, signed.bytes, signature)) return signature
  throw new TapestryError('VERIFICATION_FAILED', 'it is not signed by the key that the node enrolled with')
}
