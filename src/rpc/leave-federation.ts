import type { Context } from '../context.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import type { LeaveFederationRequest } from '../gen/proto/tapestry/v1/node_pb.ts'
import { type Departure, parseDeparture } from '../identity/departure.ts'
import { statusAfterLeaving } from '../policy/membership.ts'
import { requireNode } from '../store/membership.ts'
import { requestRevocation } from '../store/revoke.ts'
import { standDown } from '../store/stand-down.ts'
import type { Tx } from '../store/store.ts'
import { signatureOf } from './message.ts'

/** Ends a membership by the node's own signed word, whoever brings it. Repeating it changes nothing. */
export async function leaveFederation(context: Context, request: LeaveFederationRequest) {
  const departure = parseDeparture(request.departure)
  if (departure.federation !== context.federation) {
    throw new TapestryError('WRONG_FEDERATION', `it was signed for federation ${departure.federation}`)
  }
  const text = Buffer.from(request.departure).toString('utf8')
  const signed = { text, signature: signatureOf(request.signature) }
  const status = await context.store.transact('leave-federation', (tx) =>
    leave(tx, departure, signed, context.clock.now()),
  )
  return { status }
}

async function leave(
  tx: Tx,
  { node: id, contributions: mode }: Departure,
  signed: { readonly text: string; readonly signature: Signature },
  now: number,
): Promise<string> {
  const node = await requireNode(tx, id)
  const bytes = Buffer.from(signed.text, 'utf8')
  // Verified under the present key: a retired one, which may be stolen, cannot end a membership.
  if (!verifyMessage(publicKeyFromPem(node.publicKey), DOMAINS.departure, bytes, signed.signature)) {
    throw new TapestryError('VERIFICATION_FAILED', 'the departure is not signed by the node key')
  }
  const status = statusAfterLeaving(node.status)
  if (status === node.status) return status
  await tx.setNodeStatus(id, status, null, now)
  await tx.setDeparture(id, signed)
  await standDown(tx, id, now)
  if (mode !== 'stay') {
    await requestRevocation(tx, { subject: { kind: 'node', node: id }, mode, requestedBy: id, reason: '' }, now)
  }
  await tx.appendToLedger({ type: 'node-left', node: id, departure: digestOf(bytes) }, now)
  return status
}
