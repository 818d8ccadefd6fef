import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { hasCode } from './durable-file.ts'

/**
 * Writes a few bytes into a directory, and takes them away again.
 * @throws TapestryError UNAVAILABLE when that is not possible; DISK_FULL.
 */
export async function probeDirectory(directory: string): Promise<void> {
  const path = join(directory, `probe-${randomUUID()}`)
  try {
    await writeFile(path, 'probe', { flag: 'wx' })
  } catch (cause) {
    if (hasCode(cause, 'ENOSPC') || hasCode(cause, 'EDQUOT')) {
      throw new TapestryError('DISK_FULL', 'the storage has no room for a single file', { cause })
    }
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
    throw new TapestryError('UNAVAILABLE', `the storage cannot be written (${code})`, { cause })
  } finally {
    await rm(path, { force: true }).catch(() => {})
  }
}
