import { createHash } from 'node:crypto'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { ensureNodeId, type NodeId } from '../core/ids.ts'
import { DOMAINS, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { ensureDisplayName } from './display-name.ts'

/** The record that a node is born with. Its hash is the node's id, so it can never change. */
export type Genesis = {
  /** Display name, 1-64 printable characters. */
  readonly name: string
  /** Ed25519 public key (SPKI, PEM) that signs everything the node says. */
  readonly nodeKey: string
  /** Ed25519 public key (SPKI, PEM) whose private half is kept offline, to replace a lost node key. */
  readonly recoveryKey: string
}

const FORMAT = 'tapestry-genesis/1'
const SCHEMA = z.strictObject({
  format: z.literal(FORMAT),
  name: z.string(),
  nodeKey: z.string(),
  recoveryKey: z.string(),
})
/** Two keys and a name are some 400 bytes. */
const MOST_BYTES = 4096

/** The canonical JSON of a genesis record: what is signed (DOMAINS.genesis) and hashed. @throws INVALID_ARGUMENT. */
export function genesisBytes(genesis: Genesis): Uint8Array {
  const { name, nodeKey, recoveryKey } = checked(genesis)
  return canonicalBytes({ format: FORMAT, name, nodeKey, recoveryKey })
}

/** `node-` and the first 32 hex characters of the record's SHA-256. */
export function nodeIdOf(genesis: Uint8Array): NodeId {
  return ensureNodeId(`node-${createHash('sha256').update(genesis).digest('hex').slice(0, 32)}`)
}

/**
 * Reads a genesis record and checks that the node key signed exactly these bytes.
 * @throws TapestryError INVALID_ARGUMENT for a malformed record, VERIFICATION_FAILED for a wrong signature.
 */
export function parseGenesis(bytes: Uint8Array, signature: Signature): Genesis {
  const genesis = genesisOf(bytes)
  if (!verifyMessage(publicKeyFromPem(genesis.nodeKey), DOMAINS.genesis, bytes, signature)) {
    throw new TapestryError('VERIFICATION_FAILED', 'the genesis record is not signed by its node key')
  }
  return genesis
}

/** Reads a genesis record whose signature was checked when it was stored. @throws TapestryError INVALID_ARGUMENT */
export function genesisOf(bytes: Uint8Array): Genesis {
  return checked(parseRecord(bytes))
}

function parseRecord(bytes: Uint8Array): Genesis {
  if (bytes.byteLength > MOST_BYTES) throw malformed('too long')
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw malformed('not JSON', cause)
  }
  const parsed = SCHEMA.safeParse(json)
  if (!parsed.success) throw malformed('unexpected members')
  // One record, one byte sequence, one id: a second spelling of the same record would be a second node.
  if (!Buffer.from(canonicalBytes(parsed.data)).equals(bytes)) throw malformed('not canonical JSON')
  return parsed.data
}

function checked(genesis: Genesis): Genesis {
  ensureDisplayName(genesis.name)
  const node = ensureEd25519(genesis.nodeKey)
  if (node === ensureEd25519(genesis.recoveryKey)) throw malformed('the recovery key must not be the node key')
  return genesis
}

/** An Ed25519 public key in the one form that OpenSSL writes. @throws TapestryError INVALID_ARGUMENT */
export function ensureEd25519(pem: string): string {
  const key = publicKeyFromPem(pem)
  if (pem.includes('PRIVATE') || key.asymmetricKeyType !== 'ed25519') throw malformed('keys must be Ed25519')
  const canonical = key.export({ type: 'spki', format: 'pem' }).toString()
  if (canonical !== pem) throw malformed('keys must be PEM as written by OpenSSL')
  return canonical
}

function malformed(why: string, cause?: unknown): TapestryError {
  return new TapestryError('INVALID_ARGUMENT', `not a genesis record: ${why}`, { cause })
}
