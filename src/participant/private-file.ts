import { randomUUID } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { fileError } from '../model/whole-file.ts'

/** Nobody but the node's own user reads or writes its keys and records. */
const PRIVATE = 0o600

/**
 * Writes a file that appears whole or not at all, also after a power cut, and that only its owner may read.
 * @throws TapestryError DISK_FULL; NOT_FOUND when the directory is missing
 */
export async function writePrivate(path: string, data: string | Uint8Array): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  try {
    await writeSynced(temporary, data)
    await rename(temporary, path)
    await syncDirectory(dirname(path))
  } catch (cause) {
    await rm(temporary, { force: true })
    throw fileError(path, cause)
  }
}

async function writeSynced(path: string, data: string | Uint8Array): Promise<void> {
  const file = await open(path, 'wx', PRIVATE)
  try {
    await file.writeFile(data)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Makes the names in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** A file's bytes; undefined when there is none. */
export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined
    throw fileError(path, cause)
  }
}

/** Writes a record as JSON that a person can read. */
export async function writeRecord(path: string, record: unknown): Promise<void> {
  await writePrivate(path, `${JSON.stringify(record, null, 2)}\n`)
}

/** Reads a record back; undefined when there is none. @throws TapestryError DATA_INVALID when it does not fit. */
export async function readRecord<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const bytes = await readIfThere(path)
  if (bytes === undefined) return undefined
  const parsed = schema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const where = issue?.path.join('.') || 'the file'
  throw new TapestryError('DATA_INVALID', `${path}: ${where}: ${issue?.message ?? 'not understood'}`, {
    cause: parsed.error,
  })
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
