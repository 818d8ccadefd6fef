import { mkdir, readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import { writeWhole } from '../model/whole-file.ts'
import { openCheckpoint } from './checkpoint.ts'
import { GrowingTree, leafHash, type OnNode } from './merkle.ts'
import type { NoteVerifier } from './note.ts'
import type { TreeHead } from './proof.ts'
import { type LogCredentials, openCredentials, signedSchema } from './receipt.ts'
import { decodeBundle, encodeBundle, TILE_HEIGHT, TILE_WIDTH, tilePath, tilesOf } from './tile.ts'

/**
 * A whole log as a directory: `checkpoint`, `tile/...` as C2SP tlog-tiles lays them out, and `log.json`, which proves the key
 * that signed the checkpoint to whoever knows the federation's id.
 */

const CREDENTIALS = 'log.json'
const credentialsSchema: z.ZodType<LogCredentials> = z.strictObject({ federation: signedSchema, log: signedSchema })

/** Entries of the log from an index on, at least one and at most 256. */
export type EntrySource = (start: number) => Promise<readonly Uint8Array[]>

/**
 * Writes a log into a directory. The checkpoint comes last: without it the directory is no export. A later state of the same
 * log only adds to an earlier one, which it must contain.
 * @throws TapestryError VERIFICATION_FAILED when the entries are not those that the checkpoint commits to, or not those that
 *   were exported before; ALREADY_EXISTS when the directory holds anything else; DISK_FULL.
 */
export async function writeArchive(
  directory: string,
  log: { readonly credentials: LogCredentials; readonly verifier: NoteVerifier; readonly checkpoint: string },
  entriesFrom: EntrySource,
): Promise<TreeHead> {
  const head = openCheckpoint(log.checkpoint, log.verifier)
  const earlier = await earlierHead(directory, log.verifier)
  if (earlier !== undefined && earlier.size > head.size) {
    throw new TapestryError(
      'VERIFICATION_FAILED',
      `the log has ${head.size} entries; ${earlier.size} were exported before`,
    )
  }
  const write = (path: string, bytes: Uint8Array) => writeFileIn(directory, path, bytes)
  const tree = new TiledTree(write)
  const entries = readAhead(entriesFrom, head.size)
  for (const { level, index, width } of tilesOf(head.size)) {
    if (level !== 'entries') break
    const bundle = await entries(width)
    await write(tilePath({ level, index, width }), encodeBundle(bundle))
    for (const entry of bundle) {
      await tree.append(entry)
      if (tree.size === earlier?.size) requireRoot(tree.root, earlier)
    }
  }
  await tree.end()
  requireRoot(tree.root, head)
  await write(CREDENTIALS, canonicalBytes(log.credentials))
  await write('checkpoint', Buffer.from(log.checkpoint, 'utf8'))
  return head
}

/**
 * Proves an export offline: the signatures down from the federation's id, the root from every entry, and every tile.
 * @param onEntry told every entry in order; what it is told is proved when this returns.
 * @throws TapestryError VERIFICATION_FAILED naming the file; WRONG_FEDERATION for a sound log of another federation.
 */
export async function verifyArchive(
  directory: string,
  expected: string,
  onEntry: (entry: Uint8Array) => void = () => undefined,
): Promise<TreeHead> {
  const credentials = parseCredentials(await readFileIn(directory, CREDENTIALS))
  const { verifier } = openCredentials(credentials, expected)
  const head = openCheckpoint((await readFileIn(directory, 'checkpoint')).toString('utf8'), verifier)
  const tree = new TiledTree((path, bytes) => requireFile(directory, path, bytes))
  for (const { level, index, width } of tilesOf(head.size)) {
    if (level !== 'entries') break
    const path = tilePath({ level, index, width })
    const bundle = named(path, decodeBundle, await readFileIn(directory, path), width)
    for (const entry of bundle) {
      await tree.append(entry)
      onEntry(entry)
    }
  }
  await tree.end()
  requireRoot(tree.root, head)
  return head
}

const FILES: ReadonlySet<string> = new Set([CREDENTIALS, 'checkpoint', 'tile'])

/** The checkpoint of an export that is there already. */
async function earlierHead(directory: string, verifier: NoteVerifier): Promise<TreeHead | undefined> {
  const names: readonly string[] = await readdir(directory).catch(() => [])
  if (names.some((name) => !FILES.has(name))) {
    throw new TapestryError('ALREADY_EXISTS', `${directory} holds something else than a log`, {
      hint: 'choose another directory',
    })
  }
  if (!names.includes('checkpoint')) return undefined
  return openCheckpoint((await readFileIn(directory, 'checkpoint')).toString('utf8'), verifier)
}

/** Grows a tree and gives out each tile of hashes when it is full, and the partial ones at the end. */
class TiledTree {
  readonly #give: (path: string, bytes: Buffer) => Promise<void>
  readonly #tree = new GrowingTree()
  /** By level: the hashes of the tile that is being filled, and how many tiles came before it. */
  readonly #open: { hashes: Buffer[]; index: number }[] = []

  constructor(give: (path: string, bytes: Buffer) => Promise<void>) {
    this.#give = give
  }

  get size(): number {
    return this.#tree.size
  }

  get root(): Buffer {
    return this.#tree.root
  }

  async append(entry: Uint8Array): Promise<void> {
    const full: number[] = []
    const onNode: OnNode = (height, _, hash) => {
      if (height % TILE_HEIGHT !== 0) return
      const level = height / TILE_HEIGHT
      const open = this.#open[level] ?? { hashes: [], index: 0 }
      this.#open[level] = open
      open.hashes.push(hash)
      if (open.hashes.length === TILE_WIDTH) full.push(level)
    }
    this.#tree.append(leafHash(entry), onNode)
    for (const level of full) await this.#flush(level)
  }

  async end(): Promise<void> {
    for (const level of this.#open.keys()) await this.#flush(level)
  }

  async #flush(level: number): Promise<void> {
    const open = this.#open[level]
    if (open === undefined || open.hashes.length === 0) return
    const { hashes, index } = open
    this.#open[level] = { hashes: [], index: index + 1 }
    await this.#give(tilePath({ level, index, width: hashes.length }), Buffer.concat(hashes))
  }
}

/** Hands out as many entries as are asked for, whatever the pages they come in. */
function readAhead(entriesFrom: EntrySource, size: number): (count: number) => Promise<Uint8Array[]> {
  const waiting: Uint8Array[] = []
  let next = 0
  return async (count) => {
    while (waiting.length < count) {
      const page = (await entriesFrom(next)).slice(0, size - next)
      if (page.length === 0) throw new TapestryError('VERIFICATION_FAILED', `the log holds no entry ${next}`)
      waiting.push(...page)
      next += page.length
    }
    return waiting.splice(0, count)
  }
}

function requireRoot(root: Buffer, head: TreeHead): void {
  if (root.equals(head.root)) return
  throw new TapestryError('VERIFICATION_FAILED', 'the entries are not those that the checkpoint commits to')
}

async function requireFile(directory: string, path: string, expected: Buffer): Promise<void> {
  if ((await readFileIn(directory, path)).equals(expected)) return
  throw new TapestryError('VERIFICATION_FAILED', `${path} does not hold the hashes of the entries`)
}

function parseCredentials(bytes: Buffer): LogCredentials {
  try {
    return credentialsSchema.parse(JSON.parse(bytes.toString('utf8')))
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', `${CREDENTIALS} is damaged`, { cause })
  }
}

function named<In extends unknown[], Out>(path: string, parse: (...input: In) => Out, ...input: In): Out {
  try {
    return parse(...input)
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', `${path}: ${cause instanceof Error ? cause.message : ''}`, { cause })
  }
}

async function writeFileIn(directory: string, path: string, bytes: Uint8Array): Promise<void> {
  const target = join(directory, path)
  await mkdir(dirname(target), { recursive: true })
  await writeWhole(target, [bytes])
}

async function readFileIn(directory: string, path: string): Promise<Buffer> {
  try {
    return await readFile(join(directory, path))
  } catch (cause) {
    throw new TapestryError('VERIFICATION_FAILED', `${path} cannot be read`, { cause })
  }
}
