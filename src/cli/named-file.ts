import { readFile, stat } from 'node:fs/promises'
import { TapestryError } from '../core/error.ts'

/** True when `thrown` is a system error with this code, such as ENOENT. */
export function isFileSystemError(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code
}

/** Reads a file that the user named. @throws TapestryError NOT_FOUND when it is not there, INVALID_ARGUMENT when it cannot be read. */
export async function readNamedFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (isFileSystemError(cause, 'ENOENT')) throw new TapestryError('NOT_FOUND', `no such file: ${path}`, { cause })
    throw new TapestryError('INVALID_ARGUMENT', `cannot read ${path}`, { cause })
  }
}

/** @throws TapestryError NOT_FOUND when there is no directory where the user said. */
export async function requireNamedDirectory(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() !== true) throw new TapestryError('NOT_FOUND', `no such directory: ${path}`)
}
