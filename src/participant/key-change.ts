import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, privateKeyFromPem, signMessage } from '../core/signature.ts'
import { NodeService } from '../gen/proto/tapestry/v1/node_pb.ts'
import {
  changeKeys,
  followKeys,
  type KeyAuthority,
  keyRecordBytes,
  type NodeKeys,
  nextKeyRecord,
  parseKeyRecord,
  present,
  type SignedKeyRecord,
} from '../identity/key-chain.ts'
import { generateKey, publicKeyOf } from '../identity/key-file.ts'
import { signatureSchema } from '../model/parsing.ts'
import { ensureAddresses } from './address.ts'
import type { Channel } from './channel.ts'
import { readBornKeys } from './enrolment.ts'
import { type Membership, type NodeDirectory, requireKey, requireMembership } from './node-directory.ts'
import { readDeparture } from './participation.ts'
import { openReplicas } from './replicas.ts'
import { keepSaid } from './said.ts'
import { checkCertificate, requestCertificate, tlsPem } from './tls-credential.ts'
import { requireSignature, signatureMessage } from './wire.ts'

export type KeyChangeOptions = {
  /** Private recovery key (PEM): decides in place of the node key, which is lost or stolen. */
  readonly recoveryKey?: string | undefined
  /** With `recoveryKey`: make a new recovery key too. */
  readonly replaceRecovery?: boolean
}

export type KeyChange = {
  readonly number: number
  readonly authority: KeyAuthority
  readonly recoveryReplaced: boolean
}

const changeSchema = z.strictObject({ text: z.string(), signatures: z.array(signatureSchema) })
const chainSchema: z.ZodType<readonly SignedKeyRecord[]> = z.array(changeSchema)

/** `keys/next.json`: keys that were made but are not, or not known to be, in force. PEM. */
type Pending = { readonly nodeKey: string; readonly recoveryKey: string | null; readonly change: SignedKeyRecord }

const pendingSchema: z.ZodType<Pending> = z.strictObject({
  nodeKey: z.string(),
  recoveryKey: z.string().nullable(),
  change: changeSchema,
})

/**
 * Gives the node a new key, by its present one or by the recovery key. The new keys are stored before anything is sent
 * and put in force after the answer; a change that was cut off at any point is finished by the next call.
 * @throws TapestryError FAILED_PRECONDITION while the node runs, when it has left, or when its key was changed elsewhere;
 *   VERIFICATION_FAILED for a recovery key that is not this node's; UNAVAILABLE.
 */
export async function changeNodeKeys(
  directory: NodeDirectory,
  clock: Clock,
  options: KeyChangeOptions = {},
): Promise<KeyChange> {
  const unlock = await directory.lock()
  try {
    if ((await readDeparture(directory)) !== undefined) {
      throw new TapestryError('FAILED_PRECONDITION', 'this node has left its federation')
    }
    const finished = await finishKeyChange(directory, clock).catch(unlessOvertaken)
    if (finished !== undefined && (options.recoveryKey === undefined || finished.authority === 'recovery'))
      return finished
    return await withCoordinator(directory, async (channel, membership) => {
      await prepare(directory, channel, membership, options)
      return complete(directory, channel, membership, clock)
    })
  } finally {
    await unlock()
  }
}

/** Finishes a change that was cut off. @returns undefined when there is none. @throws as {@link changeNodeKeys}. */
export async function finishKeyChange(directory: NodeDirectory, clock: Clock): Promise<KeyChange | undefined> {
  if ((await directory.readKey('next.json')) === undefined) return undefined
  return withCoordinator(directory, (channel, membership) => complete(directory, channel, membership, clock))
}

/** Somebody else's change came first: what was made here is worth nothing, and the next is made from there. */
function unlessOvertaken(error: unknown): undefined {
  if (!(error instanceof TapestryError) || error.code !== 'FAILED_PRECONDITION') throw error
}

/** The chain as this node last knew it. @throws TapestryError DATA_INVALID */
export async function readKeyChain(directory: NodeDirectory): Promise<readonly SignedKeyRecord[]> {
  const text = await directory.readKey('chain.json')
  return text === undefined ? [] : stored(chainSchema, text, 'chain.json')
}

async function withCoordinator<T>(
  directory: NodeDirectory,
  use: (channel: Channel, membership: Membership) => Promise<T>,
): Promise<T> {
  const membership = await requireMembership(directory)
  const channel = openReplicas(ensureAddresses(membership.address), await requireKey(directory, 'ca.crt'))
  try {
    return await use(channel, membership)
  } finally {
    channel.close()
  }
}

async function prepare(
  directory: NodeDirectory,
  channel: Channel,
  { federation, node }: Membership,
  { recoveryKey, replaceRecovery = false }: KeyChangeOptions,
): Promise<void> {
  const { changes } = await channel.call(NodeService.method.getKeyChain, { node })
  const chain = changes.map(({ record, signatures }) => ({
    text: Buffer.from(record).toString('utf8'),
    signatures: signatures.map((one) => requireSignature(one, 'a key record')),
  }))
  const keys = followKeys(await readBornKeys(directory), chain, federation)
  const decides = recoveryKey ?? (await requireKey(directory, 'node.key'))
  requirePresent(keys, decides, recoveryKey === undefined ? 'node' : 'recovery')
  const nodeKey = generateKey('ed25519')
  const recovery = replaceRecovery ? generateKey('ed25519') : undefined
  const record = nextKeyRecord(keys, federation, {
    authority: recoveryKey === undefined ? 'node' : 'recovery',
    nodeKey: nodeKey.publicKey,
    recoveryKey: recovery?.publicKey,
  })
  const bytes = keyRecordBytes(record)
  const signers = [decides, nodeKey.privateKey, ...(recovery ? [recovery.privateKey] : [])]
  const signatures = signers.map((key) => signMessage(privateKeyFromPem(key), DOMAINS.keys, bytes))
  const change = { text: Buffer.from(bytes).toString('utf8'), signatures }
  changeKeys(keys, change, federation)
  await directory.writeKey('chain.json', JSON.stringify(chain))
  const pending: Pending = { nodeKey: nodeKey.privateKey, recoveryKey: recovery?.privateKey ?? null, change }
  await directory.writeKey('next.json', JSON.stringify(pending))
}

function requirePresent({ nodeKeys, recoveryKeys }: NodeKeys, privateKey: string, authority: KeyAuthority): void {
  const expected = present(authority === 'node' ? nodeKeys : recoveryKeys)
  if (publicKeyOf(privateKey) === expected) return
  if (authority === 'recovery') throw new TapestryError('VERIFICATION_FAILED', "this is not the node's recovery key")
  throw new TapestryError('FAILED_PRECONDITION', "this node's key was changed elsewhere", {
    hint: 'if that was nobody of yours, the key was stolen: take it back with --recovery-key',
  })
}

/** Puts the pending keys in force: there first, then here, the pending file last. */
async function complete(
  directory: NodeDirectory,
  channel: Channel,
  membership: Membership,
  clock: Clock,
): Promise<KeyChange> {
  const pending = stored(pendingSchema, await requireKey(directory, 'next.json'), 'next.json')
  const { number, authority } = parseKeyRecord(Buffer.from(pending.change.text, 'utf8'))
  const { key, der, signature } = await requestCertificate(pending.nodeKey)
  const { text, signatures } = pending.change
  const change = { record: Buffer.from(text, 'utf8'), signatures: signatures.map(signatureMessage) }
  const request = { change, certificateRequest: der, requestSignature: signatureMessage(signature) }
  const { certificate } = await channel.call(NodeService.method.changeKeys, request).catch(async (error) => {
    unlessOvertaken(error)
    await directory.removeKey('next.json')
    throw error
  })
  const authorityCertificate = await requireKey(directory, 'ca.crt')
  const identity = checkCertificate(
    { key, certificate },
    { ...membership, authority: authorityCertificate },
    clock.now(),
  )
  const chain = (await readKeyChain(directory)).slice(0, number - 1)
  await directory.writeKey('node.key', pending.nodeKey)
  if (pending.recoveryKey !== null) await directory.writeKey('recovery.key', pending.recoveryKey)
  await directory.writeKey('tls.pem', tlsPem(identity))
  await directory.writeKey('chain.json', JSON.stringify([...chain, pending.change]))
  for (const one of [...chain, pending.change]) await keepSaid(directory, { kind: 'keys', ...one })
  await directory.removeKey('next.json')
  return { number, authority, recoveryReplaced: pending.recoveryKey !== null }
}

function stored<T>(schema: z.ZodType<T>, text: string, name: string): T {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', `${name} of this node is damaged`, { cause })
  }
}
