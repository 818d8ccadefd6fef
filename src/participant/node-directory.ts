import { mkdir, readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import {
  ensureFederationId,
  ensureMemberId,
  ensureNodeId,
  ensureRecordId,
  type FederationId,
  type MemberId,
  type NodeId,
  type RoundKey,
} from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import type { DataSource } from '../engine/sources.ts'
import { ensureDisplayName } from '../identity/display-name.ts'
import { branded } from '../model/parsing.ts'
import { fileError } from '../model/whole-file.ts'
import { takeLock } from './directory-lock.ts'
import { readIfThere, readRecord, writePrivate, writeRecord } from './private-file.ts'

/** Grows when a newer layout can no longer be read by older code. */
const VERSION = '1'

/** What the node became by enrolling. */
export type Membership = {
  readonly federation: FederationId
  /** `host:port` of the coordinator; of several replicas with commas between them. */
  readonly address: string
  readonly member: MemberId
  readonly node: NodeId
}

/** `node.json`. */
export type NodeRecord = {
  readonly name: string
  readonly sources: readonly DataSource[]
  readonly membership?: Membership | undefined
}

/** `node.key` and `recovery.key`: PKCS #8. `chain.json`: the changes of the node's keys; `next.json`: one that is under way. `tls.pem`: TLS key and certificate in one, so that they change together. `ca.crt`: the pinned authority. */
export type KeyName =
  | 'node.key'
  | 'recovery.key'
  | 'tls.pem'
  | 'ca.crt'
  | 'genesis.json'
  | 'federation.json'
  | 'chain.json'
  | 'next.json'
  | 'invitation'

/** A sovereign node's state on disk. Nothing outside `root` is ever written. */
export type NodeDirectory = {
  readonly root: string
  /** @throws TapestryError DATA_INVALID */
  read(): Promise<NodeRecord>
  write(record: NodeRecord): Promise<void>
  readKey(name: KeyName): Promise<string | undefined>
  /** Readable by the node's user alone. */
  writeKey(name: KeyName, text: string): Promise<void>
  removeKey(name: KeyName): Promise<void>
  /** `rounds/<run>/<number>`; not made here. */
  roundPath(key: RoundKey): string
  readonly roundsPath: string
  /** What the node declares about its data: `<id>.yaml`, and what was signed of it. */
  readonly datasetsPath: string
  /** The node's own rules; the file need not be there. */
  readonly policyPath: string
  /** What the node refused to do: one JSON object a line. */
  readonly refusalsPath: string
  /** Content-addressed downloads that may be deleted at any time while the node does not run. */
  readonly cachePath: string
  /** Keeps a second process from working in here. @throws TapestryError FAILED_PRECONDITION while one does. */
  lock(): Promise<() => Promise<void>>
}

const sourceSchema = z.strictObject({
  path: z.string().min(1),
  language: branded(ensureLanguageTag),
  community: z.string(),
  record: branded(ensureRecordId).optional(),
})

const recordSchema: z.ZodType<NodeRecord> = z.strictObject({
  name: z.string().min(1),
  sources: z.array(sourceSchema),
  membership: z
    .strictObject({
      federation: branded(ensureFederationId),
      address: z.string(),
      member: branded(ensureMemberId),
      node: branded(ensureNodeId),
    })
    .optional(),
})

const FOLDERS = ['keys', 'rounds', 'cache', 'datasets', 'ledger']
const FILES = ['node.json', 'node.lock', 'policy.yaml', 'refusals.jsonl', 'participation.json', 'departure.json']
const LAYOUT = new Set([...FOLDERS, ...FILES, 'VERSION'])

/**
 * Makes a node's directory. Repeating it after a crash completes it.
 * @throws TapestryError ALREADY_EXISTS when there is a node or anything else in `root`; INVALID_ARGUMENT for the name.
 */
export async function createNodeDirectory(
  root: string,
  { name, sources }: { readonly name: string; readonly sources: readonly DataSource[] },
): Promise<NodeDirectory> {
  ensureDisplayName(name)
  try {
    await mkdir(root, { recursive: true, mode: 0o700 })
    await refuseForeign(root)
    for (const part of FOLDERS) await mkdir(join(root, part), { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw fileError(root, cause)
  }
  const directory = directoryAt(root)
  await directory.write({ name, sources: sources.map((source) => ({ ...source, path: resolve(source.path) })) })
  // Last: a directory without it is not finished.
  await writePrivate(join(root, 'VERSION'), `${VERSION}\n`)
  return directory
}

async function refuseForeign(root: string): Promise<void> {
  const entries = await readdir(root)
  if (entries.includes('VERSION')) throw new TapestryError('ALREADY_EXISTS', `there is already a node in ${root}`)
  const foreign = entries.find((entry) => !LAYOUT.has(entry) && !entry.startsWith('.node.json.'))
  if (foreign !== undefined) {
    throw new TapestryError('ALREADY_EXISTS', `${root} is not empty`, { hint: 'choose a directory of its own' })
  }
}

/**
 * Opens a node's directory.
 * @throws TapestryError NOT_FOUND when there is none; DATA_VERSION when another version of this program made it.
 */
export async function openNodeDirectory(root: string): Promise<NodeDirectory> {
  const version = (await readIfThere(join(root, 'VERSION')))?.toString('utf8').trim()
  if (version === undefined) throw new TapestryError('NOT_FOUND', `there is no node in ${root}`)
  if (version !== VERSION) {
    throw new TapestryError('DATA_VERSION', `${root} has layout ${version.slice(0, 20)}, this program knows ${VERSION}`)
  }
  const directory = directoryAt(root)
  await directory.read()
  return directory
}

function directoryAt(root: string): NodeDirectory {
  const record = join(root, 'node.json')
  const keyPath = (name: KeyName) => join(root, 'keys', name)
  return {
    root,
    roundsPath: join(root, 'rounds'),
    datasetsPath: join(root, 'datasets'),
    policyPath: join(root, 'policy.yaml'),
    refusalsPath: join(root, 'refusals.jsonl'),
    cachePath: join(root, 'cache'),
    async read() {
      const found = await readRecord(record, recordSchema)
      if (found === undefined) throw new TapestryError('DATA_INVALID', `${record} is missing`)
      return found
    },
    write: (value) => writeRecord(record, value),
    readKey: async (name) => (await readIfThere(keyPath(name)))?.toString('utf8'),
    writeKey: (name, text) => writePrivate(keyPath(name), text),
    removeKey: (name) => rm(keyPath(name), { force: true }),
    roundPath: ({ run, number }) => join(root, 'rounds', run, String(number)),
    lock: () => takeLock(join(root, 'node.lock')),
  }
}

/** The membership of a node that has enrolled. @throws TapestryError FAILED_PRECONDITION */
export async function requireMembership(directory: NodeDirectory): Promise<Membership> {
  const { membership } = await directory.read()
  if (membership !== undefined) return membership
  throw new TapestryError('FAILED_PRECONDITION', 'this node has not joined a federation', {
    hint: 'join with the invitation that the operator gave you',
  })
}

/**
 * Remembers where the node's coordinator is now. It stays the same federation: whoever answers has to prove it.
 * @throws TapestryError FAILED_PRECONDITION before enrolment.
 */
export async function moveCoordinator(directory: NodeDirectory, address: string): Promise<void> {
  const membership = await requireMembership(directory)
  await directory.write({ ...(await directory.read()), membership: { ...membership, address } })
}

/** A key or record that enrolment has written. @throws TapestryError DATA_INVALID when it is gone. */
export async function requireKey(directory: NodeDirectory, name: KeyName): Promise<string> {
  const text = await directory.readKey(name)
  if (text !== undefined) return text
  throw new TapestryError('DATA_INVALID', `${join(directory.root, 'keys', name)} is missing`)
}
