import { join } from 'node:path'
import { z } from 'zod'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureFederationId } from '../core/ids.ts'
import { branded } from '../model/parsing.ts'
import { readNamedFile } from './named-file.ts'

/** Grows when an older program could no longer restore what a newer one writes. */
export const BACKUP_FORMAT = 'tapestry-backup/1'
/** Written last: a directory without it is a backup that did not finish. */
export const BACKUP_FILE = 'backup.json'

const count = z.int().min(0)
const digest = branded(ensureDigest)
/** No name leaves the directory that it is in, or hides in it. */
const name = z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/)

const manifest = z.strictObject({
  format: z.literal(BACKUP_FORMAT),
  federation: branded(ensureFederationId),
  createdMs: count,
  /** The program that made it. */
  version: z.string(),
  database: z.strictObject({
    migrations: z.record(z.string(), z.string()),
    tables: z.array(z.strictObject({ table: z.string().regex(/^[a-z_]{1,63}$/), rows: count, bytes: count, digest })),
    sequences: z.record(z.string().regex(/^[a-z_]{1,63}$/), count),
  }),
  /** What is in `files/`, and in `keys/` when the keys are part of it. */
  files: z.array(z.strictObject({ name, digest })),
  keys: z.array(z.strictObject({ name, digest })),
  blobs: z.array(z.strictObject({ digest, bytes: count })),
})

/** What a backup is: everything but the bytes, each part by its digest. */
export type BackupManifest = z.infer<typeof manifest>

/** The parts of a backup's directory. */
export function backupPaths(root: string) {
  const within = (part: string) => join(root, part)
  return {
    root,
    manifest: within(BACKUP_FILE),
    database: within('database'),
    files: within('files'),
    keys: within('keys'),
    blobs: within('blobs'),
  }
}

/** @throws TapestryError NOT_FOUND without a finished backup here; DATA_VERSION, DATA_INVALID for another kind of file. */
export async function readBackupManifest(root: string): Promise<BackupManifest> {
  const text = await readNamedFile(backupPaths(root).manifest).catch((cause: unknown) => {
    throw new TapestryError('NOT_FOUND', `${root} holds no finished backup`, { cause })
  })
  const json = parseJson(text)
  const parsed = manifest.safeParse(json)
  if (parsed.success) return parsed.data
  const other = z.object({ format: z.string() }).safeParse(json)
  if (other.success && other.data.format !== BACKUP_FORMAT) {
    throw new TapestryError(
      'DATA_VERSION',
      `this build restores ${BACKUP_FORMAT}, not ${other.data.format.slice(0, 40)}`,
    )
  }
  throw new TapestryError('DATA_INVALID', `${BACKUP_FILE} is not what a backup writes`, { cause: parsed.error })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
