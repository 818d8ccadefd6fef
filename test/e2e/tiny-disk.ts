import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A real file system that is soon full. */
export type TinyDisk = {
  /** Makes room. */
  grow(kilobytes: number): Promise<void>
  /** Takes it away; what was under it is seen again. */
  unmount(): Promise<void>
}

/** Mounts a file system of its own on a directory. Needs root. */
export async function mountTinyDisk(path: string, kilobytes: number): Promise<TinyDisk> {
  await run('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k`, 'tmpfs', path])
  return {
    grow: async (size) => void (await run('mount', ['-o', `remount,size=${size}k`, path])),
    unmount: async () => void (await run('umount', ['-l', path])),
  }
}

/** Whether this user, on this machine, may mount. */
export async function mayMount(): Promise<boolean> {
  const path = await mkdtemp(join(tmpdir(), 'tapestry-mount-'))
  try {
    await (await mountTinyDisk(path, 64)).unmount()
    return true
  } catch {
    return false
  } finally {
    await rm(path, { recursive: true, force: true })
  }
}
