import { createHash, createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Another implementation of the log's reader, written from the specifications alone (RFC 9162, C2SP signed-note,
 * tlog-checkpoint and tlog-tiles, docs/LEDGER.md): it imports nothing of the product, shares no code with it, and computes
 * trees by the recursive definition instead of incrementally. It throws plain errors.
 */

type Entry = Record<string, unknown>
export type ReadLog = { readonly size: number; readonly root: string; readonly entries: readonly Entry[] }

/** Proves an exported log down from the federation's id. */
export function readExport(directory: string, federation: string): ReadLog {
  const file = (path: string) => readFileSync(join(directory, path))
  const { name, key } = logKey(JSON.parse(file('log.json').toString()), federation)
  const { size, root } = checkpointOf(file('checkpoint').toString(), name, key)
  const raw: Buffer[] = []
  for (let bundle = 0; raw.length < size; bundle++) {
    raw.push(...bundled(file(`tile/entries/${tileNumber(bundle, size)}`)))
  }
  check(raw.length === size, 'the bundles hold another number of entries')
  const leaves = raw.map((entry) => sha256(Buffer.of(0), entry))
  check(mth(leaves).equals(root), 'the root is not that of the entries')
  for (let level = 0, hashes = leaves; hashes.length > 0; level++) {
    for (let tile = 0; tile * 256 < hashes.length; tile++) {
      const expected = Buffer.concat(hashes.slice(tile * 256, (tile + 1) * 256))
      check(file(`tile/${level}/${tileNumber(tile, hashes.length)}`).equals(expected), `tile ${level}/${tile}`)
    }
    const complete = Math.floor(hashes.length / 256)
    const below = hashes
    hashes = Array.from({ length: complete }, (_, at) => mth(below.slice(at * 256, (at + 1) * 256)))
  }
  return { size, root: root.toString('base64'), entries: raw.map((entry) => JSON.parse(entry.toString())) }
}

/** Proves a receipt file. @returns the entry that it is about. */
export function readReceipt(text: string, federation: string): Entry {
  const receipt = JSON.parse(text)
  const { name, key } = logKey(receipt, federation)
  const { size, root } = checkpointOf(receipt.checkpoint, name, key)
  const proof: Buffer[] = receipt.proof.map((hash: string) => Buffer.from(hash, 'base64'))
  const leaf = sha256(Buffer.of(0), Buffer.from(receipt.entry))
  check(receipt.index < size, 'the entry is beyond the checkpoint')
  check(climb(leaf, receipt.index, size, proof).equals(root), 'the proof does not lead to the root')
  check(proof.length === 0, 'the proof is too long')
  return JSON.parse(receipt.entry)
}

/** RFC 9162, 2.1.3.1 read backwards: the last hash of a proof belongs to the topmost split. */
function climb(leaf: Buffer, index: number, size: number, proof: Buffer[]): Buffer {
  if (size === 1) return leaf
  const sibling = proof.pop()
  check(sibling !== undefined, 'the proof is too short')
  const k = 2 ** (Math.ceil(Math.log2(size)) - 1)
  return index < k
    ? sha256(Buffer.of(1), climb(leaf, index, k, proof), sibling)
    : sha256(Buffer.of(1), sibling, climb(leaf, index - k, size - k, proof))
}

/** RFC 9162, 2.1.1. */
function mth(leaves: readonly Buffer[]): Buffer {
  const [first] = leaves
  if (first === undefined) return sha256()
  if (leaves.length === 1) return first
  const k = 2 ** (Math.ceil(Math.log2(leaves.length)) - 1)
  return sha256(Buffer.of(1), mth(leaves.slice(0, k)), mth(leaves.slice(k)))
}

type Signed = { record: string; signature: { keyId: string; value: string } }

function logKey(file: { federation: Signed; log: Signed }, expected: string): { name: string; key: KeyObject } {
  const federation = JSON.parse(file.federation.record)
  const authority = new X509Certificate(federation.caCertificate).publicKey
  const fingerprint = sha256(authority.export({ type: 'spki', format: 'der' })).toString('hex')
  check(`sha256:${fingerprint}` === expected && federation.id === expected, 'another federation')
  dsse(authority, 'tapestry/federation/v1', file.federation)
  dsse(authority, 'tapestry/log/v1', file.log)
  const log = JSON.parse(file.log.record)
  check(log.federation === expected, 'the log of another federation')
  return { name: log.origin, key: createPublicKey(log.publicKey) }
}

/** DSSE, pre-authentication encoding. */
function dsse(key: KeyObject, type: string, { record, signature }: Signed): void {
  const message = `DSSEv1 ${type.length} ${type} ${Buffer.byteLength(record)} ${record}`
  check(verify(null, Buffer.from(message), key, Buffer.from(signature.value, 'base64')), `the signature of ${type}`)
}

function checkpointOf(note: string, name: string, key: KeyObject): { size: number; root: Buffer } {
  const [text = '', signatures = ''] = note.split('\n\n')
  const [origin, size = '', root = ''] = text.split('\n')
  check(origin === name, 'another origin')
  const raw = key.export({ type: 'spki', format: 'der' }).subarray(-32)
  const hash = sha256(Buffer.from(`${name}\n`), Buffer.of(1), raw).subarray(0, 4)
  const line = signatures.split('\n').find((each) => each.startsWith(`— ${name} `))
  const signature = Buffer.from(line?.split(' ')[2] ?? '', 'base64')
  check(signature.subarray(0, 4).equals(hash), 'the key hash of the checkpoint')
  check(verify(null, Buffer.from(`${text}\n`), key, signature.subarray(4)), 'the signature of the checkpoint')
  return { size: Number(size), root: Buffer.from(root, 'base64') }
}

function bundled(bytes: Buffer): Buffer[] {
  const entries: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt16BE(at)
    check(at + 2 + length <= bytes.length, 'a bundle is cut')
    entries.push(bytes.subarray(at + 2, at + 2 + length))
    at += 2 + length
  }
  return entries
}

/** C2SP tlog-tiles: groups of three digits, all but the last behind an x; partial tiles name their width. */
function tileNumber(index: number, count: number): string {
  let [path, rest] = [String(index % 1000).padStart(3, '0'), Math.floor(index / 1000)]
  for (; rest > 0; rest = Math.floor(rest / 1000)) path = `x${String(rest % 1000).padStart(3, '0')}/${path}`
  return (index + 1) * 256 <= count ? path : `${path}.p/${count % 256}`
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`not proved: ${what}`)
}
