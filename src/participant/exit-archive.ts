import { cp, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId, ensureMemberId, ensureNodeId, type FederationId } from '../core/ids.ts'
import { DOMAINS, keyIdOf, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { parseGenesis } from '../identity/genesis.ts'
import { bornKeys, followKeys, type NodeKeys, parseKeyRecord } from '../identity/key-chain.ts'
import { verifyArchive } from '../ledger/archive.ts'
import { type LedgerEntry, parseEntry } from '../ledger/entry.ts'
import { verifyReceiptFile } from '../ledger/receipt.ts'
import { branded } from '../model/parsing.ts'
import { fileError } from '../model/whole-file.ts'
import { type NodeDirectory, requireKey, requireMembership } from './node-directory.ts'
import { readRecord, writeRecord } from './private-file.ts'
import { readSaid, type Said, writeSaid } from './said.ts'

/**
 * A node's own audit trail as a directory: who it is (`exit.json`), everything it signed (`documents`), the receipts of its
 * contributions (`receipts`) and, where the coordinator could be reached, the whole log (`log`). It needs nobody's help to
 * be checked: no network, no coordinator, no directory of a node.
 */

const FORMAT = 'tapestry-exit/1'
const exitSchema = z.strictObject({
  format: z.literal(FORMAT),
  federation: branded(ensureFederationId),
  node: branded(ensureNodeId),
  member: branded(ensureMemberId),
})
const genesisSchema = z.object({ record: z.string(), signature: z.object({ keyId: z.string(), value: z.string() }) })

/** What the log decided about a contribution. */
export type DecidedWeight = { readonly contribution: Digest; readonly weight: number; readonly reason: string }

/** What an exit archive proves. */
export type ProvedExit = {
  readonly node: string
  readonly member: string
  readonly documents: number
  readonly keyChanges: number
  readonly receipts: number
  /** Null when the archive holds no log: then nothing proves that it is complete. */
  readonly log: { readonly size: number; readonly weights: readonly DecidedWeight[] } | null
}

/**
 * Writes everything but the log, from the node's directory alone.
 * @param target a directory that is not there, or holds an earlier export of this node.
 * @throws TapestryError FAILED_PRECONDITION before enrolment; ALREADY_EXISTS; DISK_FULL.
 */
export async function writeExit(directory: NodeDirectory, target: string): Promise<void> {
  const { federation, node, member } = await requireMembership(directory)
  await requireRoom(target, node)
  await mkdir(target, { recursive: true, mode: 0o700 })
  const { record, signature } = genesisSchema.parse(JSON.parse(await requireKey(directory, 'genesis.json')))
  const ledger = join(directory.root, 'ledger')
  const documents = [{ kind: 'genesis', text: record, signatures: [signature] } as const, ...(await readSaid(ledger))]
  for (const said of documents) await writeSaid(target, said)
  try {
    await cp(join(ledger, 'receipts'), join(target, 'receipts'), { recursive: true, force: true })
  } catch (cause) {
    // A node that has contributed nothing has no receipts.
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw fileError(target, cause)
  }
  // Last: a directory without it is no export.
  await writeRecord(join(target, 'exit.json'), { format: FORMAT, federation, node, member })
}

async function requireRoom(target: string, node: string): Promise<void> {
  const names = await readdir(target).catch(() => [])
  if (names.length === 0) return
  const earlier = await readRecord(join(target, 'exit.json'), exitSchema).catch(() => undefined)
  if (earlier?.node === node) return
  throw new TapestryError('ALREADY_EXISTS', `${target} holds something else than an export of this node`, {
    hint: 'choose another directory',
  })
}

/**
 * Proves an exit archive offline: every signature under the node's chain of keys, every receipt, and, with the log in it,
 * that the log is whole and names no document of this node that is missing here.
 * @param trusted the federation's id, known from elsewhere.
 * @throws TapestryError NOT_FOUND; VERIFICATION_FAILED naming what does not hold; WRONG_FEDERATION.
 */
export async function verifyExit(target: string, trusted: FederationId): Promise<ProvedExit> {
  const exit = await readRecord(join(target, 'exit.json'), exitSchema)
  if (exit === undefined) throw new TapestryError('NOT_FOUND', `there is no export of a node in ${target}`)
  const { federation, node, member } = exit
  if (federation !== trusted) throw new TapestryError('WRONG_FEDERATION', `the export is of federation ${federation}`)
  const documents = await readSaid(target)
  const keys = keysOf(documents, federation)
  if (keys.node !== node) throw failed(`the genesis record is that of ${keys.node}`)
  for (const said of documents) requireSigned(said, keys)
  const known = new Set(documents.map(({ text }) => digestOf(text)))
  const receipts = await verifyReceipts(target, federation, known)
  const log = await verifyLog(target, exit, known)
  return { node, member, documents: documents.length, keyChanges: keys.number, receipts, log }
}

function keysOf(documents: readonly Said[], federation: FederationId): NodeKeys {
  const [genesis] = documents.filter(({ kind }) => kind === 'genesis')
  const [signature] = genesis?.signatures ?? []
  if (genesis === undefined || signature === undefined) throw failed('there is no genesis record')
  const bytes = Buffer.from(genesis.text, 'utf8')
  const born = bornFrom(bytes, signature)
  const changes = documents
    .filter(({ kind }) => kind === 'keys')
    .map((change) => ({ ...change, number: parseKeyRecord(Buffer.from(change.text, 'utf8')).number }))
    .sort((a, b) => a.number - b.number)
  return followKeys(born, changes, federation)
}

/** In an archive a genesis record that cannot be read is one that was tampered with. */
function bornFrom(bytes: Uint8Array, signature: Signature): NodeKeys {
  try {
    return bornKeys(bytes, parseGenesis(bytes, signature))
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', 'the genesis record is damaged', { cause })
  }
}

/** Each document names the key that signed it, which is one that the node has or had. */
function requireSigned({ kind, text, signatures }: Said, { nodeKeys }: NodeKeys): void {
  // Their signatures are the chain's: followKeys has checked them.
  if (kind === 'keys' || kind === 'genesis') return
  const bytes = Buffer.from(text, 'utf8')
  const [signature] = signatures
  const key = nodeKeys.map(publicKeyFromPem).find((one) => keyIdOf(one) === signature?.keyId)
  if (signature !== undefined && key !== undefined && verifyMessage(key, DOMAINS[kind], bytes, signature)) return
  throw failed(`the ${kind} ${digestOf(text)} is not signed by a key of this node`)
}

async function verifyReceipts(target: string, federation: FederationId, known: ReadonlySet<Digest>): Promise<number> {
  const folder = join(target, 'receipts')
  const names = (await readdir(folder, { recursive: true }).catch(() => [])).filter((name) => name.endsWith('.json'))
  for (const name of names) {
    const { receipt } = verifyReceiptFile(await readFile(join(folder, name), 'utf8'), federation)
    const entry = parseEntry(receipt.entry)
    if (entry.type !== 'contribution' || !known.has(entry.contribution)) {
      throw failed(`the contribution of the receipt ${name} is not here`)
    }
  }
  return names.length
}

async function verifyLog(
  target: string,
  { node, federation }: z.output<typeof exitSchema>,
  known: ReadonlySet<Digest>,
): Promise<ProvedExit['log']> {
  const folder = join(target, 'log')
  if ((await readdir(folder).catch(() => [])).length === 0) return null
  const weights: DecidedWeight[] = []
  const { size } = await verifyArchive(folder, federation, (bytes) => {
    const entry = entryIfKnown(bytes)
    if (entry === undefined) return
    const named = 'node' in entry && entry.node === node ? documentOf(entry) : undefined
    if (named !== undefined && !known.has(named)) throw failed(`${named}, a ${entry.type} in the log, is not here`)
    if (entry.type === 'weights') weights.push(...entry.weights.filter(({ contribution }) => known.has(contribution)))
  })
  return { size, weights }
}

/** Entries of kinds that a newer coordinator writes prove nothing about this node to us. */
function entryIfKnown(bytes: Uint8Array): LedgerEntry | undefined {
  try {
    return parseEntry(bytes)
  } catch {
    return undefined
  }
}

/** The document of the node that an entry about it names. */
function documentOf(entry: LedgerEntry): Digest | undefined {
  switch (entry.type) {
    case 'enrolment':
      return entry.genesis
    case 'contribution':
      return entry.contribution
    case 'record-registered':
    case 'node-keys':
      return entry.record
    case 'record-withdrawn':
      return entry.withdrawal
    case 'node-left':
      return entry.departure
    default:
      return undefined
  }
}

function failed(detail: string): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', detail)
}
