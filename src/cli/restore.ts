import { X509Certificate } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ServerConfig, serverConfig } from '../config.ts'
import { TapestryError } from '../core/error.ts'
import { fingerprintOf } from '../core/fingerprint.ts'
import type { FederationId } from '../core/ids.ts'
import { digestOfFile } from '../participant/file-digest.ts'
import { type BlobFile, blobPath, copyFileAsBlob } from '../store/blob-copy.ts'
import { isS3 } from '../store/s3/location.ts'
import { tableFile } from '../store/snapshot.ts'
import { ensureReadable, loadSnapshot } from '../store/snapshot-load.ts'
import { openStorage, storageDirectory } from '../store/storage.ts'
import { type BackupManifest, backupPaths, readBackupManifest } from './backup-manifest.ts'
import { type CoordinatorPaths, coordinatorPaths, writeAtomically } from './coordinator-directory.ts'
import { openDatabase } from './coordinator-parts.ts'
import { isFileSystemError } from './named-file.ts'

export type RestoreOptions = {
  /** A finished backup. */
  readonly from: string
  /** The coordinator's new directory: absent or empty. */
  readonly dir: string
  /** Folder with the coordinator's keys, for a backup without them. */
  readonly keys?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly onProgress?: (done: number, total: number) => void
}

/** Without these no coordinator starts; log.key would be made anew, and the log refuse it. */
const NEEDED_KEYS = ['ca.crt', 'ca.key', 'release.key', 'log.key'] as const

/**
 * Makes a coordinator's directory and fills its database from a backup. Everything is verified before anything is
 * written, and nothing that exists is overwritten.
 * @throws TapestryError VERIFICATION_FAILED when any part differs from what was backed up or is missing; ALREADY_EXISTS
 *   when directory or database are not empty; DATA_VERSION for a newer build's backup; INVALID_ARGUMENT without keys;
 *   WRONG_FEDERATION for another federation's keys.
 */
export async function restore(options: RestoreOptions): Promise<BackupManifest> {
  const manifest = await readBackupManifest(options.from)
  await ensureEmptyDirectory(options.dir)
  await ensureReadable(manifest.database)
  const keys = await keysOf(options, manifest)
  await verifyBackup(options.from, manifest, options.onProgress)
  const [from, paths] = [backupPaths(options.from), coordinatorPaths(options.dir)]
  await mkdir(paths.keys, { recursive: true, mode: 0o700 })
  const file: Record<string, unknown> = JSON.parse(await readFile(join(from.files, 'config.json'), 'utf8'))
  const config = serverConfig({ flags: {}, env: options.env, file })
  const store = await storeOf(config, paths, from.blobs)
  const database = await openDatabase(config, paths)
  try {
    await loadSnapshot(database.url, manifest.database, from.database)
  } finally {
    if (database.started) await database.stop()
  }
  for (const blob of manifest.blobs) await store(blob)
  for (const [name, text] of keys) await writeFile(join(paths.keys, name), text, { mode: 0o600 })
  for (const { name } of manifest.files)
    if (name !== 'VERSION') await copyFile(join(from.files, name), join(paths.root, name))
  // Last: a directory without it is not a coordinator.
  await writeAtomically(paths.version, await readFile(join(from.files, 'VERSION'), 'utf8'))
  return manifest
}

/** How a backup's blobs get into a storage: into a directory as files, by a link where that does; elsewhere as bytes. */
async function storeOf(
  { storage }: ServerConfig,
  paths: CoordinatorPaths,
  from: string,
): Promise<(blob: BlobFile) => Promise<unknown>> {
  const source = (blob: BlobFile) => blobPath(from, blob.digest)
  if (storage === undefined || !isS3(storage)) {
    const directory = storageDirectory(storage, paths.blobs)
    return (blob) => copyFileAsBlob(async () => source(blob), directory, blob, false)
  }
  const { blobs } = await openStorage(storage, paths)
  return async (blob) =>
    (await blobs.stat(blob.digest))?.size === blob.bytes || blobs.put(createReadStream(source(blob)))
}

async function ensureEmptyDirectory(path: string): Promise<void> {
  const there = await readdir(path).catch((error) => {
    if (isFileSystemError(error, 'ENOENT')) return []
    throw error
  })
  if (there.length === 0) return
  throw new TapestryError('ALREADY_EXISTS', `${path} is not empty`, {
    hint: 'restore into a new directory: nothing that exists is ever overwritten',
  })
}

/** The keys of the backup, or those that were kept elsewhere, if they are the federation's. */
async function keysOf({ from, keys }: RestoreOptions, manifest: BackupManifest): Promise<Map<string, string>> {
  if (keys === undefined && manifest.keys.length === 0) {
    throw new TapestryError('INVALID_ARGUMENT', 'this backup holds no keys', {
      hint: "name the folder where the coordinator's keys were kept: --keys",
    })
  }
  const folder = keys ?? backupPaths(from).keys
  const found = new Map<string, string>()
  for (const name of keys === undefined ? manifest.keys.map((key) => key.name) : await readdir(folder)) {
    if (!name.startsWith('.')) found.set(name, await readFile(join(folder, name), 'utf8'))
  }
  const missing = NEEDED_KEYS.filter((name) => !found.has(name))
  if (missing.length > 0) throw new TapestryError('NOT_FOUND', `${folder} lacks ${missing.join(', ')}`)
  ensureOwn(found.get('ca.crt') ?? '', manifest.federation)
  return found
}

function ensureOwn(certificate: string, federation: FederationId): void {
  const owner = authorityOf(certificate)
  if (owner === federation) return
  throw new TapestryError('WRONG_FEDERATION', `the keys are those of ${owner}, the backup of ${federation}`)
}

function authorityOf(certificate: string): FederationId {
  try {
    return fingerprintOf(new X509Certificate(certificate))
  } catch (cause) {
    throw new TapestryError('DATA_INVALID', 'ca.crt is no certificate', { cause })
  }
}

/**
 * Reads all of a backup and compares it with its manifest.
 * @throws TapestryError VERIFICATION_FAILED naming the first part that differs or is missing.
 */
export async function verifyBackup(
  root: string,
  { database, files, keys, blobs }: BackupManifest,
  onProgress?: RestoreOptions['onProgress'],
): Promise<void> {
  const from = backupPaths(root)
  const parts = [
    ...database.tables.map(({ table, digest }) => ({ path: join(from.database, tableFile(table)), digest })),
    ...files.map(({ name, digest }) => ({ path: join(from.files, name), digest })),
    ...keys.map(({ name, digest }) => ({ path: join(from.keys, name), digest })),
    ...blobs.map(({ digest }) => ({ path: blobPath(from.blobs, digest), digest })),
  ]
  const total = [...database.tables, ...blobs].reduce((sum, { bytes }) => sum + bytes, 0)
  let done = 0
  for (const { path, digest } of parts) {
    const found = await digestOfFile(path).catch((cause: unknown) => {
      throw new TapestryError('VERIFICATION_FAILED', `${path} cannot be read`, { cause })
    })
    if (found.digest !== digest) throw new TapestryError('VERIFICATION_FAILED', `${path} is not what was backed up`)
    done += found.size
    onProgress?.(Math.min(done, total), total)
  }
}
