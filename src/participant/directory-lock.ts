import { randomUUID } from 'node:crypto'
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { TapestryError } from '../core/error.ts'
import { fileError } from '../model/whole-file.ts'

/** Locks that this very process holds: after a restart in a container, the old holder's pid may be our own. */
const held = new Set<string>()

/**
 * Takes a lock that other processes of this machine respect. The lock of a process that no longer runs is taken over.
 * @param path the lock file; its directory must exist.
 * @returns a function that gives the lock back.
 * @throws TapestryError FAILED_PRECONDITION while another holder is alive.
 */
export async function takeLock(path: string): Promise<() => Promise<void>> {
  const key = resolve(path)
  if (held.has(key)) throw heldBy(path, process.pid)
  held.add(key)
  try {
    const mark = `${process.pid} ${randomUUID()}\n`
    await claim(path, mark)
    return () => release(path, key, mark)
  } catch (cause) {
    held.delete(key)
    throw fileError(path, cause)
  }
}

/** The living process that holds a lock, by its id; undefined when there is none, or it is this one. */
export async function holderOf(path: string): Promise<number | undefined> {
  const pid = pidOf(await readLock(path))
  return isAlive(pid) ? pid : undefined
}

async function claim(path: string, mark: string): Promise<void> {
  // The file appears with its content, so no reader ever sees an empty lock.
  const own = `${path}.${randomUUID()}`
  await writeFile(own, mark, { flag: 'wx', mode: 0o600 })
  try {
    if (await linked(own, path)) return
    await removeStale(path)
    if (!(await linked(own, path))) throw heldBy(path, pidOf(await readLock(path)))
  } finally {
    await rm(own, { force: true })
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
}

/** Moves a dead holder's lock out of the way; puts it back when it turns out to be somebody's new one. */
async function removeStale(path: string): Promise<void> {
  const stale = await readLock(path)
  if (isAlive(pidOf(stale))) throw heldBy(path, pidOf(stale))
  const aside = `${path}.${randomUUID()}`
  try {
    await rename(path, aside)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return
    throw error
  }
  if ((await readLock(aside)) !== stale) await linked(aside, path)
  await rm(aside, { force: true })
}

async function release(path: string, key: string, mark: string): Promise<void> {
  if ((await readLock(path)) === mark) await rm(path, { force: true })
  held.delete(key)
}

async function readLock(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return ''
    throw error
  }
}

function pidOf(text: string): number {
  const pid = Number.parseInt(text, 10)
  return Number.isSafeInteger(pid) && pid > 0 ? pid : 0
}

function isAlive(pid: number): boolean {
  if (pid === 0 || pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // The process exists and belongs to somebody else.
    return isCode(error, 'EPERM')
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function heldBy(path: string, pid: number): TapestryError {
  return new TapestryError('FAILED_PRECONDITION', `another process (${pid}) is using this directory`, {
    hint: `stop it first; the lock is ${path}`,
  })
}
