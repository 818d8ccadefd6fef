import { randomUUID } from 'node:crypto'
import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { TapestryError } from '../core/error.ts'
import type { ReleasedFile } from '../model/manifest.ts'
import { parseManifest } from '../model/manifest.ts'
import { ATTESTATIONS, directoriesOf, SIDECARS, SUPERSEDED } from '../model/release-path.ts'
import { readSidecars, writeAttestations, writeCheckpointSidecars, writeSuperseded } from '../model/sidecars.ts'
import { type VerifiedCheckpoint, verifyCheckpoint } from '../model/verify.ts'
import { fileError } from '../model/whole-file.ts'
import { fetchAttestations } from './attestations.ts'
import { takeLock } from './directory-lock.ts'
import { downloadArtifact } from './download.ts'
import { syncDirectory } from './private-file.ts'
import { openPublicClient, type PublicClient, type Trust } from './public-client.ts'
import { fetchRelease, type OfferedRelease, type Release, refuseSuperseded } from './release.ts'
import type { Backoff } from './retry.ts'

export type PullOptions = {
  /** `host:port` of a coordinator. */
  readonly address: string
  /** A channel, run@version, or a manifest digest. */
  readonly ref: string
  /** Where the checkpoint goes; a checkpoint that is there already is replaced. */
  readonly directory: string
  readonly trust: Trust
  /** Fetch it though a revocation took it back, as long as its bytes are still there. */
  readonly allowSuperseded?: boolean | undefined
  readonly signal?: AbortSignal | undefined
  /** Bytes done and bytes in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly backoff?: Backoff
}

export type Pulled = VerifiedCheckpoint & {
  /** False when the checkpoint was there already. */
  readonly downloaded: boolean
  /** True when the coordinator was trusted because nothing was known about it. */
  readonly firstContact: boolean
}

/** Two files at a time keep a long line busy; more only compete. */
const PARALLEL = 2

/**
 * Fetches a checkpoint and proves it: the signatures of manifest and attestations before anything is downloaded, every byte before the
 * directory appears. Interrupted, it goes on where it was.
 * A checkpoint that a revocation took back is refused with VERIFICATION_FAILED unless it is allowed; a notice is put
 * beside it, whether it is fetched or was there before.
 * @throws TapestryError NOT_FOUND; WRONG_FEDERATION; VERIFICATION_FAILED; UNAVAILABLE; DISK_FULL; ALREADY_EXISTS when
 *   the directory holds anything but a checkpoint; FAILED_PRECONDITION at a first contact that is not allowed.
 */
export async function pullCheckpoint(options: PullOptions): Promise<Pulled> {
  const client = await openPublicClient(options.address, options.trust, options.signal)
  try {
    const { firstContact, federation } = client
    const release = await fetchRelease(client, options.ref, federation.record, options.signal)
    const directory = resolve(options.directory)
    const there = await presentCheckpoint(directory, release)
    if (there !== undefined && release.notice !== undefined) await writeSuperseded(directory, release.notice)
    if (options.allowSuperseded !== true) refuseSuperseded(release, federation.record)
    if (there !== undefined) return { ...there, downloaded: false, firstContact }
    await requireReplaceable(directory)
    await makeDirectory(dirname(directory))
    const unlock = await takeLock(`${directory}.lock`)
    try {
      return { ...(await fetchInto(client, release, directory, options)), downloaded: true, firstContact }
    } finally {
      await unlock()
    }
  } finally {
    client.close()
  }
}

/** The checkpoint, if it is in the directory whole and unharmed. */
async function presentCheckpoint(directory: string, release: Release): Promise<VerifiedCheckpoint | undefined> {
  try {
    const found = await verifyCheckpoint(
      directory,
      { federation: release.manifest.federation },
      { allowSuperseded: true },
    )
    return found.digest === release.digest ? found : undefined
  } catch (error) {
    if (error instanceof TapestryError) return undefined
    throw error
  }
}

async function fetchInto(
  client: PublicClient,
  release: OfferedRelease,
  directory: string,
  options: PullOptions,
): Promise<VerifiedCheckpoint> {
  const attestations = await fetchAttestations(client, release, client.federation.record, options.signal)
  const partial = `${directory}.partial`
  const { files } = release.manifest
  await makeDirectory(partial)
  await removeForeign(partial, files)
  await fetchFiles(client, files, partial, options)
  const { bytes, signature } = client.federation
  await writeCheckpointSidecars(partial, {
    manifest: release.bytes,
    signature: release.signature,
    federation: { record: bytes, signature },
  })
  await writeAttestations(partial, attestations)
  if (release.notice !== undefined) await writeSuperseded(partial, release.notice)
  const trust = { federation: release.manifest.federation }
  const verified = await verifyCheckpoint(partial, trust, { allowSuperseded: true })
  await replace(directory, partial)
  return verified
}

async function fetchFiles(
  client: PublicClient,
  files: readonly ReleasedFile[],
  partial: string,
  { signal, onProgress, backoff }: PullOptions,
): Promise<void> {
  const total = files.reduce((sum, { size }) => sum + size, 0)
  const done = new Map<string, number>()
  const failed = new AbortController()
  const either = AbortSignal.any([failed.signal, ...(signal ? [signal] : [])])
  const waiting = [...files]
  const report = (path: string, bytes: number) => {
    done.set(path, bytes)
    onProgress?.(
      [...done.values()].reduce((sum, value) => sum + value, 0),
      total,
    )
  }
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const { path, digest, size } = file
      const target = join(partial, path)
      await makeDirectory(dirname(target))
      const onBytes = (bytes: number) => report(path, bytes)
      await downloadArtifact(client, { digest, size }, target, {
        signal: either,
        onProgress: onBytes,
        ...(backoff && { backoff }),
      })
      report(path, size)
    }
  }
  const workers = Array.from({ length: PARALLEL }, () =>
    work().catch((error) => {
      failed.abort(error)
      throw error
    }),
  )
  const settled = await Promise.allSettled(workers)
  for (const outcome of settled) if (outcome.status === 'rejected') throw failed.signal.reason ?? outcome.reason
}

/** What an earlier version, or anybody else, left in the way. Parts of wanted files stay. */
async function removeForeign(partial: string, files: readonly ReleasedFile[]): Promise<void> {
  const paths = files.map(({ path }) => path)
  const known = new Set([...paths, ...paths.map((path) => `${path}.part`), ...paths.flatMap(directoriesOf)])
  const remove = async (prefix: string) => {
    for (const entry of await readdir(join(partial, prefix), { withFileTypes: true })) {
      const path = `${prefix}${entry.name}`
      const kept = known.has(path) && (entry.isFile() || entry.isDirectory())
      if (!kept) await rm(join(partial, path), { recursive: true, force: true })
      else if (entry.isDirectory()) await remove(`${path}/`)
    }
  }
  await remove('')
}

/** Only an empty directory or a checkpoint is ever replaced: everything else is somebody's. */
async function requireReplaceable(directory: string): Promise<void> {
  const found = await lstat(directory).catch(() => undefined)
  if (found === undefined) return
  const replaceable = found.isDirectory() && (await isEmptyOrCheckpoint(directory))
  if (replaceable) return
  throw new TapestryError('ALREADY_EXISTS', `${directory} exists and holds something else than a checkpoint`, {
    hint: 'choose another directory, or move it away',
  })
}

async function isEmptyOrCheckpoint(directory: string): Promise<boolean> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  if (entries.length === 0) return true
  try {
    const manifest = parseManifest((await readSidecars(directory)).manifest)
    const paths = manifest.files.map(({ path }) => path)
    const files = [...SIDECARS, SUPERSEDED, ...ATTESTATIONS, ...paths]
    const known = new Set([...files, ...files.flatMap(directoriesOf)].map((path) => join(directory, path)))
    return entries.every((entry) => known.has(join(entry.parentPath, entry.name)))
  } catch {
    return false
  }
}

/** Puts the new directory in place; the old one is gone only when that has succeeded. */
async function replace(directory: string, partial: string): Promise<void> {
  await requireReplaceable(directory)
  const old = join(dirname(directory), `.${basename(directory)}.${randomUUID()}.old`)
  const wasThere = (await lstat(directory).catch(() => undefined)) !== undefined
  try {
    if (wasThere) await rename(directory, old)
    await rename(partial, directory)
    await syncDirectory(dirname(directory))
  } catch (cause) {
    if (wasThere) await rename(old, directory).catch(() => undefined)
    throw fileError(directory, cause)
  }
  if (wasThere) await rm(old, { recursive: true, force: true })
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
    if (!(await lstat(path)).isDirectory()) throw new TapestryError('ALREADY_EXISTS', `${path} is not a directory`)
  } catch (cause) {
    throw fileError(path, cause)
  }
}
