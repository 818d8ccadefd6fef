import type { Millis } from '../core/clock.ts'
import type { FederationId } from '../core/ids.ts'
import { certificateIdentity } from '../identity/certificate-identity.ts'
import type { Reader } from './reader.ts'
import type { NodeRow } from './records.ts'

export type AnyonePrincipal = { readonly kind: 'anyone' }
export type NodePrincipal = { readonly kind: 'node'; readonly node: NodeRow }
export type OperatorPrincipal = { readonly kind: 'operator'; readonly name: string }

/** Who is calling, as far as the store vouches for them at this moment. */
export type Principal = AnyonePrincipal | NodePrincipal | OperatorPrincipal

/** A caller with a certificate of this federation, who may nevertheless have lost the right to use it. */
export type Caller = Principal | { readonly kind: 'barred'; readonly node: NodeRow }

/**
 * Finds out who holds a verified certificate. Asked on every call: a certificate lives for a day, a suspension
 * takes effect at once.
 * @param certificate the peer's certificate (DER) if TLS verified one against the federation's authority.
 * @returns `anyone` without a certificate, with one of another federation, expired, or for a node that the store
 *   does not know, or has changed its keys since; `barred` for a node that is suspended, has left or was ejected.
 */
export async function identifyCaller(
  reader: Pick<Reader, 'node'>,
  federation: FederationId,
  certificate: Uint8Array | undefined,
  now: Millis,
): Promise<Caller> {
  const identity = certificate && certificateIdentity(certificate, federation, now)
  if (!identity) return { kind: 'anyone' }
  if (identity.kind === 'operator') return identity
  const node = await reader.node(identity.node)
  if (!node || (identity.keys ?? 0) !== node.keyChanges) return { kind: 'anyone' }
  return node.status === 'active' ? { kind: 'node', node } : { kind: 'barred', node }
}
