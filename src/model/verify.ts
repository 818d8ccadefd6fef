import { createHash } from 'node:crypto'
import { constants, type Dirent } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf, fromHex } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, keyIdOf, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { verifyAttestations } from './attestations.ts'
import { type FederationRecord, parseFederationRecord, type ReleaseKey } from './federation-record.ts'
import { type Manifest, parseManifest, type ReleasedFile } from './manifest.ts'
import { ATTESTATIONS, type AttestationPath, directoriesOf, SIDECARS, SUPERSEDED } from './release-path.ts'
import { verifyReleasedOverride } from './released-override.ts'
import { readAttestations, readSidecars, readSuperseded } from './sidecars.ts'
import { type Supersession, supersededError, verifySupersession } from './supersession.ts'
import { checkShards, readIndex, type Shard, WEIGHTS_INDEX, weightFilesAmong } from './weight-index.ts'

/** What the caller trusts: a federation by its id, or one release key by its PEM. */
export type TrustRoot = { readonly federation: string } | { readonly releaseKeyPem: string }

export type VerifiedCheckpoint = {
  readonly manifest: Manifest
  /** Names the checkpoint: the digest of manifest.json. */
  readonly digest: Digest
  readonly federation: FederationRecord
  /** Those that are there and hold: all, or none for a checkpoint that came without. */
  readonly attestations: readonly AttestationPath[]
  /** The notice beside it; undefined when there is none. */
  readonly supersession: Supersession | undefined
}

export type VerifyOptions = {
  /** Called as files are hashed, with bytes done and bytes in all. */
  readonly onProgress?: (done: number, total: number) => void
  /** Do not refuse a checkpoint that the notice beside it calls superseded. */
  readonly allowSuperseded?: boolean
}

/** Large enough to keep the disk busy, small enough to show progress. */
const CHUNK_BYTES = 4 * 2 ** 20

/**
 * Proves offline that a directory is a checkpoint of the federation: signed by one of its release
 * keys, every file present with its size and digest, and nothing else in it (not even hidden) but
 * attestations that belong to it.
 * @throws TapestryError VERIFICATION_FAILED naming the file; WRONG_FEDERATION when the checkpoint
 *   is sound but not of the federation or key the caller trusts; INVALID_ARGUMENT for a bad PEM; VERIFICATION_FAILED
 *   too for a checkpoint that a signed notice beside it calls superseded, unless that is allowed
 */
export async function verifyCheckpoint(
  directory: string,
  trust: TrustRoot,
  options: VerifyOptions = {},
): Promise<VerifiedCheckpoint> {
  const listing = await listDirectory(directory)
  requireFiles(listing, SIDECARS)
  const sidecars = await readSidecars(directory)
  const federation = trustedFederation(sidecars.federation.record, sidecars.federation.signature, trust)
  const keys = trustedKeys(federation, trust)
  verifySignature(sidecars.manifest, sidecars.signature, keys)
  const manifest = parseManifest(sidecars.manifest)
  if (manifest.federation !== federation.id) throw failed('manifest.json', 'belongs to another federation')
  verifyReleasedOverride(manifest, federation)
  const present = ATTESTATIONS.filter((path) => listing.files.has(path))
  checkListing(listing, manifest.files, present)
  const signed = { manifest, bytes: sidecars.manifest, signature: canonicalBytes(sidecars.signature) }
  const attestations = verifyAttestations(signed, await readAttestations(directory, present), keys)
  const digest = digestOf(sidecars.manifest)
  const supersession = listing.files.has(SUPERSEDED) ? await noticeBeside(directory, digest, federation) : undefined
  if (supersession !== undefined && options.allowSuperseded !== true) {
    throw supersededError(supersession, 'or allow superseded checkpoints')
  }
  await verifyFiles(directory, manifest.files, options)
  await verifyShards(directory, manifest.files)
  return { manifest, digest, federation, attestations, supersession }
}

/** Any release key may have signed it: the one that signed the checkpoint may have been retired since. */
async function noticeBeside(
  directory: string,
  checkpoint: Digest,
  federation: FederationRecord,
): Promise<Supersession> {
  const notice = verifySupersession(await readSuperseded(directory), federation.releaseKeys, federation.id)
  if (notice.superseded.includes(checkpoint)) return notice
  throw failed(SUPERSEDED, 'is about other checkpoints')
}

function trustedFederation(record: Uint8Array, signature: Signature, trust: TrustRoot): FederationRecord {
  const expectedId = 'federation' in trust ? trust.federation : undefined
  try {
    const federation = parseFederationRecord(record, signature, expectedId)
    if ('releaseKeyPem' in trust) requireReleaseKey(federation, trust.releaseKeyPem)
    return federation
  } catch (cause) {
    if (!(cause instanceof TapestryError) || cause.code !== 'VERIFICATION_FAILED') throw cause
    throw new TapestryError('VERIFICATION_FAILED', `federation.json: ${cause.message}`, { cause })
  }
}

function requireReleaseKey(federation: FederationRecord, pem: string): void {
  const trusted = keyIdOf(publicKeyFromPem(pem))
  if (!federation.releaseKeys.some(({ keyId }) => keyId === trusted)) {
    throw new TapestryError(
      'WRONG_FEDERATION',
      `the federation ${federation.id} does not list the release key you gave`,
    )
  }
}

/** One key when the caller trusts that one, otherwise all that the federation lists. */
function trustedKeys(federation: FederationRecord, trust: TrustRoot): readonly ReleaseKey[] {
  if (!('releaseKeyPem' in trust)) return federation.releaseKeys
  return [{ keyId: keyIdOf(publicKeyFromPem(trust.releaseKeyPem)), publicKey: trust.releaseKeyPem }]
}

function verifySignature(manifest: Uint8Array, signature: Signature, keys: readonly ReleaseKey[]): void {
  const key = keys.find(({ keyId }) => keyId === signature.keyId)
  if (key === undefined) throw failed('manifest.sig', 'is by a key that is not trusted')
  if (!verifyMessage(publicKeyFromPem(key.publicKey), DOMAINS.manifest, manifest, signature)) {
    throw failed('manifest.sig', 'does not sign this manifest.json')
  }
}

/** Relative paths with `/`. Anything but plain files and directories is refused while listing. */
type Listing = { readonly files: ReadonlySet<string>; readonly directories: ReadonlySet<string> }

async function listDirectory(root: string): Promise<Listing> {
  const files = new Set<string>()
  const directories = new Set<string>()
  const pending = ['']
  for (let prefix = pending.pop(); prefix !== undefined; prefix = pending.pop()) {
    for (const entry of await readEntries(root, prefix)) {
      const path = `${prefix}${entry.name}`
      if (entry.isFile()) files.add(path)
      else if (!entry.isDirectory()) throw failed(path, 'is neither a file nor a directory')
      else {
        directories.add(path)
        pending.push(`${path}/`)
      }
    }
  }
  return { files, directories }
}

async function readEntries(root: string, prefix: string): Promise<Dirent[]> {
  try {
    return await readdir(join(root, prefix), { withFileTypes: true })
  } catch (cause) {
    throw failed(prefix === '' ? root : prefix, 'cannot be listed', cause)
  }
}

function requireFiles(listing: Listing, paths: readonly string[]): void {
  for (const path of paths) {
    if (!listing.files.has(path)) throw failed(path, 'is missing')
  }
}

function checkListing(listing: Listing, files: readonly ReleasedFile[], attestations: readonly string[]): void {
  const paths = files.map(({ path }) => path)
  requireFiles(listing, paths)
  const known = new Set<string>([...paths, ...SIDECARS, SUPERSEDED, ...attestations])
  const parents = new Set([...paths, ...attestations].flatMap(directoriesOf))
  for (const path of listing.files) if (!known.has(path)) throw stray(path)
  for (const path of listing.directories) if (!parents.has(path)) throw stray(path)
}

async function verifyFiles(directory: string, files: readonly ReleasedFile[], options: VerifyOptions): Promise<void> {
  const total = files.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  for (const file of files) {
    await verifyFile(join(directory, file.path), file, (bytes) => {
      done += bytes
      options.onProgress?.(done, total)
    })
  }
}

/** What the index of sharded weights says is what its shards are: other tools believe it. */
async function verifyShards(directory: string, files: readonly ReleasedFile[]): Promise<void> {
  if (!files.some(({ path }) => path === WEIGHTS_INDEX)) return
  const index = await readIndex(join(directory, WEIGHTS_INDEX))
  if (index === undefined) throw failed(WEIGHTS_INDEX, 'is not an index')
  const released = weightFilesAmong(files)
  const named = index.shards.every((shard, place) => isDeepStrictEqual({ ...released[place] }, fileOf(shard)))
  if (!named || released.length !== index.shards.length) throw failed(WEIGHTS_INDEX, 'names other shards')
  await checkShards(index, ({ path }) => join(directory, path))
}

function fileOf({ path, digest, size }: Shard): ReleasedFile {
  return { path, digest, size }
}

async function verifyFile(path: string, expected: ReleasedFile, onBytes: (bytes: number) => void): Promise<void> {
  // Without following a link that was put there since the listing.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((cause: unknown) => {
    throw failed(expected.path, 'cannot be read', cause)
  })
  try {
    const { size } = await file.stat()
    if (size !== expected.size) throw failed(expected.path, `has ${size} bytes, expected ${expected.size}`)
    const hash = createHash('sha256')
    for await (const chunk of file.createReadStream({ highWaterMark: CHUNK_BYTES, autoClose: false })) {
      hash.update(chunk)
      onBytes(chunk.length)
    }
    if (fromHex(hash.digest('hex')) !== expected.digest) throw failed(expected.path, 'does not have the signed digest')
  } finally {
    await file.close()
  }
}

function stray(path: string): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `${JSON.stringify(path)} is not part of the checkpoint`, {
    hint: 'Move what was added after the download (such as .cache) elsewhere.',
  })
}

function failed(path: string, problem: string, cause?: unknown): TapestryError {
  return new TapestryError('VERIFICATION_FAILED', `${JSON.stringify(path)} ${problem}`, { cause })
}
