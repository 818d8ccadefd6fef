import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { serverConfig } from '../config.ts'
import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { digestOfFile } from '../participant/file-digest.ts'
import { type BlobFile, copyFileAsBlob, listBlobs } from '../store/blob-copy.ts'
import type { Blob, BlobStore } from '../store/blob-store.ts'
import { writeSnapshot } from '../store/snapshot.ts'
import { openStorage } from '../store/storage.ts'
import { BACKUP_FORMAT, type BackupManifest, backupPaths } from './backup-manifest.ts'
import { type CoordinatorPaths, openCoordinatorDirectory, writeAtomically } from './coordinator-directory.ts'
import { openDatabase } from './coordinator-parts.ts'
import { isFileSystemError } from './named-file.ts'
import { version } from './version.ts'

export type BackupOptions = {
  readonly dir: string
  /** Where the backup goes: a new directory, or that of a backup that did not finish. */
  readonly to: string
  readonly withKeys: boolean
  /** Never link: what is on the disk of the blobs is copied as well. */
  readonly apart: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readonly now: Millis
  readonly onProgress?: (done: number, total: number) => void
}

/** What is public or says how the coordinator is set up. */
const FILES = ['VERSION', 'federation.json'] as const
const CONFIG = 'config.json'
/** Settings that hold passwords: whoever restores gives them anew. */
const SECRET_SETTINGS: ReadonlySet<string> = new Set(['databaseUrl', 'redisUrl'])

/**
 * Copies a coordinator, running or not, as it was at one moment: its database by a transaction that only reads, its
 * blobs, its settings without passwords and, when asked, its keys. Uploads that were under way are left out: their
 * nodes send them again.
 * @throws TapestryError ALREADY_EXISTS when `to` holds a finished backup or anything else, NOT_FOUND without a coordinator, UNAVAILABLE,
 *   DISK_FULL.
 */
export async function backUp(options: BackupOptions): Promise<BackupManifest> {
  const { paths, federation, file } = await openCoordinatorDirectory(options.dir)
  const config = serverConfig({ flags: {}, env: options.env, file })
  const to = backupPaths(options.to)
  await prepare(options.to)
  const { blobs } = await openStorage(config.storage, paths)
  // Before the moment, so that what is deleted after it is here; once more after it, for what came in between.
  await copyBlobs(blobs, to.blobs, options)
  const database = await openDatabase(config, paths)
  const snapshot = await writeSnapshot(database.url, to.database).finally(async () => {
    if (database.started) await database.stop()
  })
  await copyBlobs(blobs, to.blobs, options)
  const manifest: BackupManifest = {
    format: BACKUP_FORMAT,
    federation: federation.id,
    createdMs: options.now,
    version: version(),
    database: { ...snapshot, tables: [...snapshot.tables] },
    files: await copyFiles(paths, to.files, file),
    keys: options.withKeys ? await copyKeys(paths.keys, to.keys) : [],
    blobs: (await listBlobs(to.blobs)).map(({ digest, bytes }) => ({ digest, bytes })),
  }
  await writeAtomically(to.manifest, `${JSON.stringify(manifest, null, 1)}\n`)
  return manifest
}

/** Takes a new or empty directory, or goes on with a backup that did not finish. */
async function prepare(root: string): Promise<void> {
  const { manifest, ...parts } = backupPaths(root)
  const ours = new Set(Object.values(parts).map((path) => path.slice(root.length + 1)))
  const there = await readdir(root).catch((error) => {
    if (isFileSystemError(error, 'ENOENT')) return []
    throw error
  })
  const other = there.find((name) => !ours.has(name))
  if (other !== undefined) {
    throw new TapestryError('ALREADY_EXISTS', `${root} is not empty: it holds ${other}`, {
      hint: 'give each backup a directory of its own; files of an earlier one are never changed',
    })
  }
  await mkdir(root, { recursive: true, mode: 0o700 })
  for (const part of [parts.database, parts.files, parts.keys]) await rm(part, { recursive: true, force: true })
}

async function copyBlobs(from: BlobStore, to: string, { apart, onProgress }: BackupOptions): Promise<void> {
  const blobs: Blob[] = []
  for await (const blob of from.old(Number.POSITIVE_INFINITY)) blobs.push(blob)
  const total = blobs.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  for (const { digest, size } of blobs) {
    // One that has gone meanwhile is not missed: nothing refers to it any more.
    await copyFileAsBlob(() => pathOf(from, digest), to, { digest, bytes: size }, apart)
    done += size
    onProgress?.(done, total)
  }
}

async function pathOf(blobs: BlobStore, digest: Digest): Promise<string | undefined> {
  try {
    return await blobs.localPath(digest)
  } catch (error) {
    if (error instanceof TapestryError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}

async function copyFiles(
  paths: CoordinatorPaths,
  to: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<BackupManifest['files']> {
  await mkdir(to, { recursive: true })
  for (const name of FILES) await copyFile(join(paths.root, name), join(to, name))
  const kept = Object.entries(settings).filter(([name]) => !SECRET_SETTINGS.has(name))
  await writeFile(join(to, CONFIG), `${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`)
  return digestsOf(to)
}

async function copyKeys(from: string, to: string): Promise<BackupManifest['keys']> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const name of await readdir(from)) {
    // Names with a dot are keys in the making.
    if (name.startsWith('.') || !(await stat(join(from, name))).isFile()) continue
    await writeFile(join(to, name), await readFile(join(from, name)), { mode: 0o600 })
    await chmod(join(to, name), 0o600)
  }
  return digestsOf(to)
}

/** Digests of a directory's files, by name. */
export async function digestsOf(directory: string): Promise<{ name: string; digest: BlobFile['digest'] }[]> {
  const names = (await readdir(directory)).sort()
  return Promise.all(names.map(async (name) => ({ name, digest: (await digestOfFile(join(directory, name))).digest })))
}
