import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { ensureMemberId, type NodeId } from '../core/ids.ts'
import { DOMAINS, privateKeyFromPem, type Signature, signMessage } from '../core/signature.ts'
import { EnrollmentService } from '../gen/proto/tapestry/v1/enrollment_pb.ts'
import { genesisBytes, genesisOf, nodeIdOf, parseGenesis } from '../identity/genesis.ts'
import { type Invitation, parseInvitation } from '../identity/invitation.ts'
import { bornKeys, type NodeKeys } from '../identity/key-chain.ts'
import { generateKey, publicKeyOf } from '../identity/key-file.ts'
import { signatureSchema } from '../model/parsing.ts'
import { addressesText, ensureAddresses } from './address.ts'
import type { Channel, ClientIdentity } from './channel.ts'
import { fetchFederation } from './federation.ts'
import { type KeyName, type Membership, type NodeDirectory, requireKey } from './node-directory.ts'
import { pinAuthority } from './pinned-authority.ts'
import { beginningWith, firstAnswering, openReplicas } from './replicas.ts'
import { checkCertificate, requestCertificate, tlsPem } from './tls-credential.ts'
import { received, signatureMessage } from './wire.ts'

/** A node's birth certificate of its own: made once, never changed. */
type SignedGenesis = { readonly bytes: Uint8Array; readonly signature: Signature; readonly node: NodeId }

const signedSchema = z.strictObject({ record: z.string(), signature: signatureSchema })

/**
 * Makes this node known to the federation that invited it. Repeating it after success changes nothing; repeating it
 * after a crash goes on with the same node, because keys and genesis are stored before anything is sent.
 * @throws TapestryError INVITATION_INVALID, INVITATION_USED, INVITATION_EXPIRED; WRONG_FEDERATION when the coordinator,
 *   or this node, belongs to another federation; VERIFICATION_FAILED; UNAVAILABLE.
 */
export async function joinFederation(
  directory: NodeDirectory,
  invitationText: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Membership> {
  const invitation = parseInvitation(invitationText)
  const record = await directory.read()
  if (record.membership !== undefined) return sameFederation(record.membership, invitation)
  const genesis = await ensureGenesis(directory, record.name)
  await directory.writeKey('invitation', `${invitationText.trim()}\n`)
  const membership = await enrol(directory, invitation, genesis, clock, signal)
  await directory.write({ ...record, membership })
  return membership
}

/**
 * Redeems the node's stored invitation once more for a certificate, when the last one ended while the node was away.
 * @throws TapestryError UNAUTHENTICATED when there is no invitation left to redeem; as {@link joinFederation}.
 */
export async function enrolAgain(directory: NodeDirectory, clock: Clock, signal?: AbortSignal): Promise<void> {
  const text = await directory.readKey('invitation')
  const { name, membership } = await directory.read()
  if (text === undefined || membership === undefined) {
    throw new TapestryError('UNAUTHENTICATED', "this node's certificate has ended", {
      hint: 'ask the operator for a new invitation',
    })
  }
  // The coordinator may have moved since; the federation can not.
  const invitation = { ...parseInvitation(text), address: membership.address }
  sameFederation(membership, invitation)
  await enrol(directory, invitation, await ensureGenesis(directory, name), clock, signal)
}

function sameFederation(membership: Membership, invitation: Invitation): Membership {
  if (membership.federation === invitation.federation) return membership
  throw new TapestryError('WRONG_FEDERATION', `this node already belongs to the federation ${membership.federation}`, {
    hint: 'a node belongs to one federation; use another directory for another node',
  })
}

async function enrol(
  directory: NodeDirectory,
  invitation: Invitation,
  genesis: SignedGenesis,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Membership> {
  const addresses = ensureAddresses(invitation.address)
  // The secret does not travel before the other side has proved that it is the federation.
  const { address, answer: authority } = await firstAnswering(addresses, ({ text }) =>
    pinAuthority(text, invitation.federation, clock.now()),
  )
  const channel = openReplicas(beginningWith(addresses, address), authority)
  try {
    const federation = await fetchFederation(channel, invitation.federation, signal)
    const issued = await redeem(directory, channel, invitation, genesis, signal)
    checkCertificate(issued.identity, { federation: invitation.federation, node: genesis.node, authority }, clock.now())
    await directory.writeKey('ca.crt', authority)
    const record = Buffer.from(federation.bytes).toString('utf8')
    await directory.writeKey('federation.json', JSON.stringify({ record, signature: federation.signature }))
    await directory.writeKey('tls.pem', tlsPem(issued.identity))
    const { federation: id } = invitation
    return { federation: id, address: addressesText(addresses), member: issued.member, node: genesis.node }
  } finally {
    channel.close()
  }
}

async function redeem(
  directory: NodeDirectory,
  channel: Channel,
  invitation: Invitation,
  genesis: SignedGenesis,
  signal: AbortSignal | undefined,
): Promise<{ readonly identity: ClientIdentity; readonly member: Membership['member'] }> {
  const { key, der, signature } = await requestCertificate(await ensureKey(directory, 'node.key'))
  const response = await channel.call(
    EnrollmentService.method.enroll,
    {
      federation: invitation.federation,
      invitationSecret: invitation.secret,
      genesis: genesis.bytes,
      genesisSignature: signatureMessage(genesis.signature),
      certificateRequest: der,
      requestSignature: signatureMessage(signature),
    },
    { signal },
  )
  if (response.node !== genesis.node) {
    throw new TapestryError('VERIFICATION_FAILED', 'the coordinator enrolled another node than this one')
  }
  return { identity: { key, certificate: response.certificate }, member: received(ensureMemberId, response.member) }
}

/** The node's genesis record; made and stored on first use. */
async function ensureGenesis(directory: NodeDirectory, name: string): Promise<SignedGenesis> {
  const stored = await directory.readKey('genesis.json')
  if (stored !== undefined) return readGenesis(stored)
  const nodeKey = await ensureKey(directory, 'node.key')
  const recoveryKey = await ensureKey(directory, 'recovery.key')
  const bytes = genesisBytes({ name, nodeKey: publicKeyOf(nodeKey), recoveryKey: publicKeyOf(recoveryKey) })
  const signature = signMessage(privateKeyFromPem(nodeKey), DOMAINS.genesis, bytes)
  const record = Buffer.from(bytes).toString('utf8')
  await directory.writeKey('genesis.json', JSON.stringify({ record, signature }))
  return { bytes, signature, node: nodeIdOf(bytes) }
}

function readGenesis(stored: string): SignedGenesis {
  try {
    const { record, signature } = signedSchema.parse(JSON.parse(stored))
    const bytes = Buffer.from(record, 'utf8')
    parseGenesis(bytes, signature)
    return { bytes, signature, node: nodeIdOf(bytes) }
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', 'genesis.json of this node is damaged', { cause })
  }
}

/** The keys that the node was born with. @throws TapestryError DATA_INVALID */
export async function readBornKeys(directory: NodeDirectory): Promise<NodeKeys> {
  const { bytes } = readGenesis(await requireKey(directory, 'genesis.json'))
  return bornKeys(bytes, genesisOf(bytes))
}

async function ensureKey(directory: NodeDirectory, name: KeyName & ('node.key' | 'recovery.key')): Promise<string> {
  const stored = await directory.readKey(name)
  if (stored !== undefined) return stored
  const { privateKey } = generateKey('ed25519')
  await directory.writeKey(name, privateKey)
  return privateKey
}
