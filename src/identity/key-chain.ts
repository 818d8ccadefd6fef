import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureNodeId, type FederationId, type NodeId } from '../core/ids.ts'
import { DOMAINS, keyIdOf, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { branded, digestSchema, parseCanonical } from '../model/parsing.ts'
import { ensureEd25519, type Genesis, nodeIdOf } from './genesis.ts'

/** Who may change keys: the node key its successor; the recovery key, which wins over it, both. */
export type KeyAuthority = 'node' | 'recovery'

/** One change of a node's keys. The genesis record is number 0 of the chain. */
export type KeyRecord = {
  readonly federation: FederationId
  readonly node: NodeId
  /** Counts the changes, from 1. */
  readonly number: number
  /** Digest of the record before: of the genesis record, for the first. */
  readonly previous: Digest
  readonly authority: KeyAuthority
  /** Ed25519 public keys (SPKI, PEM) from now on. */
  readonly nodeKey: string
  readonly recoveryKey: string
}

/** A record as it was signed, with the signatures of the authority and of every new key. */
export type SignedKeyRecord = { readonly text: string; readonly signatures: readonly Signature[] }

/** A node's keys after so many changes. */
export type NodeKeys = {
  readonly node: NodeId
  readonly number: number
  /** Digest of the last record. */
  readonly head: Digest
  /** Every node key there was, the present one last (PEM). */
  readonly nodeKeys: readonly [...string[], string]
  /** Every recovery key there was, the present one last (PEM). */
  readonly recoveryKeys: readonly [...string[], string]
}

const FORMAT = 'tapestry-keys/1'
const pem = z.string().transform((text, context) => {
  try {
    return ensureEd25519(text)
  } catch {
    context.addIssue({ code: 'custom', message: 'not an Ed25519 public key' })
    return z.NEVER
  }
})
const schema: z.ZodType<KeyRecord & { readonly format: typeof FORMAT }> = z.strictObject({
  format: z.literal(FORMAT),
  federation: branded(ensureFederationId),
  node: branded(ensureNodeId),
  number: z.int().min(1).max(1_000_000),
  previous: digestSchema,
  authority: z.enum(['node', 'recovery']),
  nodeKey: pem,
  recoveryKey: pem,
})
/** Two keys, three ids and a number are some 600 bytes. */
const MOST_BYTES = 4096

/** The bytes that are signed (DOMAINS.keys). */
export function keyRecordBytes(record: KeyRecord): Uint8Array {
  return canonicalBytes({ ...record, format: FORMAT })
}

/** The keys that a node was born with. */
export function bornKeys(bytes: Uint8Array, { nodeKey, recoveryKey }: Genesis): NodeKeys {
  return { node: nodeIdOf(bytes), number: 0, head: digestOf(bytes), nodeKeys: [nodeKey], recoveryKeys: [recoveryKey] }
}

/** The record that follows `keys`: with a new node key and, by the recovery key, a new recovery key. */
export function nextKeyRecord(
  { node, number, head, recoveryKeys }: NodeKeys,
  federation: FederationId,
  next: { readonly authority: KeyAuthority; readonly nodeKey: string; readonly recoveryKey?: string | undefined },
): KeyRecord {
  const { authority, nodeKey, recoveryKey = present(recoveryKeys) } = next
  return { federation, node, number: number + 1, previous: head, authority, nodeKey, recoveryKey }
}

/**
 * Goes one change further.
 * @throws TapestryError VERIFICATION_FAILED for a record that is malformed, of another node or federation, that brings an
 *   old key back, or that lacks a signature; FAILED_PRECONDITION for a sound one that does not follow the last: it was
 *   applied before, or another was.
 */
export function changeKeys(keys: NodeKeys, { text, signatures }: SignedKeyRecord, federation: FederationId): NodeKeys {
  const bytes = Buffer.from(text, 'utf8')
  const record = parseKeyRecord(bytes)
  if (record.node !== keys.node || record.federation !== federation) throw refused('is of another node or federation')
  if (record.number !== keys.number + 1 || record.previous !== keys.head) {
    throw new TapestryError(
      'FAILED_PRECONDITION',
      `the record does not follow change ${keys.number} of the node's keys`,
    )
  }
  requireFresh(keys, record)
  requireSignatures(signersOf(keys, record), bytes, signatures)
  const { nodeKeys, recoveryKeys } = keys
  const renewed = record.recoveryKey !== present(recoveryKeys)
  return {
    node: keys.node,
    number: record.number,
    head: digestOf(bytes),
    nodeKeys: [...nodeKeys, record.nodeKey],
    recoveryKeys: renewed ? [...recoveryKeys, record.recoveryKey] : recoveryKeys,
  }
}

/** Follows a whole chain from a node's birth. @throws as {@link changeKeys}. */
export function followKeys(born: NodeKeys, changes: readonly SignedKeyRecord[], federation: FederationId): NodeKeys {
  return changes.reduce((keys, change) => changeKeys(keys, change, federation), born)
}

/** Reads a record; its place in the chain and its signatures are {@link changeKeys}'s to check. @throws TapestryError VERIFICATION_FAILED */
export function parseKeyRecord(bytes: Uint8Array): KeyRecord {
  if (bytes.byteLength > MOST_BYTES) throw refused('is too long')
  const { format: _, ...record } = parseCanonical(bytes, schema, 'the key record')
  return record
}

/** The key in use. */
export function present(keys: readonly [...string[], string]): string {
  return keys.at(-1) ?? keys[0]
}

/** A retired key may be in a thief's hands: it never comes back, in either place. */
function requireFresh({ nodeKeys, recoveryKeys }: NodeKeys, { authority, nodeKey, recoveryKey }: KeyRecord): void {
  const used = [...nodeKeys, ...recoveryKeys]
  if (used.includes(nodeKey)) throw refused('brings back a key that was used before')
  if (recoveryKey === present(recoveryKeys)) return
  if (authority !== 'recovery') throw refused('changes the recovery key without its signature')
  if (used.includes(recoveryKey)) throw refused('brings back a key that was used before')
  if (recoveryKey === nodeKey) throw refused('makes one key both node key and recovery key')
}

/** Who must have signed: whoever decides, and every new key, so that nobody is locked out by a slip. */
function signersOf({ nodeKeys, recoveryKeys }: NodeKeys, { authority, nodeKey, recoveryKey }: KeyRecord): string[] {
  const recovery = present(recoveryKeys)
  const decides = authority === 'node' ? present(nodeKeys) : recovery
  return [decides, nodeKey, ...(recoveryKey === recovery ? [] : [recoveryKey])]
}

function requireSignatures(signers: readonly string[], bytes: Uint8Array, signatures: readonly Signature[]): void {
  const sound = signers.every((signer) => {
    const key = publicKeyFromPem(signer)
    const own = signatures.find(({ keyId }) => keyId === keyIdOf(key))
    return own !== undefined && verifyMessage(key, DOMAINS.keys, bytes, own)
  })
  if (!sound || signatures.length !== signers.length) throw refused('is not signed by the keys that it needs')
}

function refused(why: string): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `the key record ${why}`)
}
