import type { Context } from '../context.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { FederationId } from '../core/ids.ts'
import type { ChangeKeysRequest, SignedKeyRecord as SignedKeyRecordMessage } from '../gen/proto/tapestry/v1/node_pb.ts'
import { genesisOf } from '../identity/genesis.ts'
import {
  bornKeys,
  changeKeys as changed,
  followKeys,
  parseKeyRecord,
  present,
  type SignedKeyRecord,
} from '../identity/key-chain.ts'
import { requireNode } from '../store/membership.ts'
import type { NodeRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { type CertificateIssuer, issueFor } from './certificate.ts'
import { signatureOf } from './message.ts'

/**
 * Takes a node one change further in its chain of keys and issues its next certificate; those from before count for
 * nothing from then on. The last change may be repeated, because an answer can get lost.
 */
export async function changeKeys(context: Context, issuer: CertificateIssuer, request: ChangeKeysRequest) {
  const change = signedRecordOf(request.change)
  const node = await context.store.transact('change-keys', (tx) =>
    apply(tx, context.federation, change, context.clock.now()),
  )
  return { certificate: await issueFor(context, issuer, node, request) }
}

function signedRecordOf(message: SignedKeyRecordMessage | undefined): SignedKeyRecord {
  if (message === undefined) throw new TapestryError('INVALID_ARGUMENT', 'the request carries no key record')
  return { text: Buffer.from(message.record).toString('utf8'), signatures: message.signatures.map(signatureOf) }
}

async function apply(tx: Tx, federation: FederationId, change: SignedKeyRecord, now: number): Promise<NodeRow> {
  const bytes = Buffer.from(change.text, 'utf8')
  const { node: id, authority } = parseKeyRecord(bytes)
  const node = await requireNode(tx, id)
  const changes = await tx.keyChanges(id)
  const genesis = Buffer.from(node.genesis, 'utf8')
  const keys = followKeys(bornKeys(genesis, genesisOf(genesis)), changes, federation)
  // A copy of what everybody may read proves nothing: the certificate request has to be signed by the new key.
  if (changes.length > 0 && keys.head === digestOf(bytes)) return node
  if (node.status === 'left' || node.status === 'ejected') {
    throw new TapestryError('FAILED_PRECONDITION', `this node is ${node.status}: it needs no keys`)
  }
  const { number, head, nodeKeys } = changed(keys, change, federation)
  const nodeKey = present(nodeKeys)
  await tx.addKeyChange(id, number, nodeKey, change, now)
  await tx.appendToLedger({ type: 'node-keys', node: id, number, record: head, authority }, now)
  return { ...node, publicKey: nodeKey, keyChanges: number, keysSince: now }
}
