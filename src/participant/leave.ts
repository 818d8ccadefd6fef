import { TapestryError } from '../core/error.ts'
import { DOMAINS, privateKeyFromPem, signMessage } from '../core/signature.ts'
import { NodeService } from '../gen/proto/tapestry/v1/node_pb.ts'
import { type ContributionFate, departureBytes, parseDeparture } from '../identity/departure.ts'
import { ensureAddresses } from './address.ts'

import type { SignedText } from './dataset-file.ts'
import { type NodeDirectory, requireKey, requireMembership } from './node-directory.ts'
import { readDeparture, writeDeparture } from './participation.ts'
import { openReplicas } from './replicas.ts'
import { isPassing } from './retry.ts'
import { keepSaid } from './said.ts'
import { signatureMessage } from './wire.ts'

/**
 * Ends this node's membership. The signed word is kept first: from then on the node takes part in nothing, and tells its
 * coordinator now or at its next contact. Repeating it changes nothing.
 * @returns whether the coordinator knows.
 * @throws TapestryError FAILED_PRECONDITION for a node that has joined nothing, or has left in another way; what the
 *   coordinator answers, but not that it cannot be reached.
 */
export async function leaveFederation(directory: NodeDirectory, fate: ContributionFate): Promise<boolean> {
  const departure = (await readDeparture(directory)) ?? (await sign(directory, fate))
  if (parseDeparture(Buffer.from(departure.text, 'utf8')).contributions !== fate) {
    throw new TapestryError(
      'FAILED_PRECONDITION',
      'this node has left already, and decided otherwise about its contributions',
    )
  }
  try {
    return await tellDeparture(directory)
  } catch (error) {
    if (!isPassing(error)) throw error
    return false
  }
}

/**
 * Tells the coordinator that the node has left, if it has. Needs no certificate: the signature is enough.
 * @returns false for a node that has not left.
 * @throws TapestryError UNAVAILABLE; VERIFICATION_FAILED when the node's keys were changed since.
 */
export async function tellDeparture(directory: NodeDirectory, signal?: AbortSignal): Promise<boolean> {
  const departure = await readDeparture(directory)
  if (departure === undefined || departure.told) return departure !== undefined
  const { address } = await requireMembership(directory)
  const channel = openReplicas(ensureAddresses(address), await requireKey(directory, 'ca.crt'))
  try {
    const request = {
      departure: Buffer.from(departure.text, 'utf8'),
      signature: signatureMessage(departure.signature),
    }
    await channel.call(NodeService.method.leaveFederation, request, { signal })
  } finally {
    channel.close()
  }
  await keepSaid(directory, { kind: 'departure', text: departure.text, signatures: [departure.signature] })
  await writeDeparture(directory, { ...departure, told: true })
  return true
}

async function sign(directory: NodeDirectory, contributions: ContributionFate): Promise<SignedText> {
  const { federation, node } = await requireMembership(directory)
  const bytes = departureBytes({ federation, node, contributions })
  const signature = signMessage(privateKeyFromPem(await requireKey(directory, 'node.key')), DOMAINS.departure, bytes)
  const departure = { text: Buffer.from(bytes).toString('utf8'), signature, told: false }
  await writeDeparture(directory, departure)
  return departure
}
