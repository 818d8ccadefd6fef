import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** One process: its parent and its resident memory. */
export type ProcessEntry = {
  readonly pid: number
  readonly parent: number
  /** Resident memory without the shared memory. */
  readonly ownBytes: number
  /** Resident shared memory, such as a database's buffers, which every server process maps. */
  readonly sharedBytes: number
}

/**
 * Every process that can be seen: from /proc on Linux, from `ps` elsewhere.
 * Processes that end while the table is read are left out.
 */
export async function readProcesses(): Promise<ProcessEntry[]> {
  if (process.platform !== 'linux') return parsePs(await psOutput())
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const entries = await Promise.all(pids.map(readStatus))
  return entries.filter((entry) => entry !== undefined)
}

async function readStatus(pid: string): Promise<ProcessEntry | undefined> {
  try {
    return parseStatus(Number(pid), await readFile(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return undefined
  }
}

/** /proc/<pid>/status, proc(5): VmRSS and its part RssShmem in KiB, absent for kernel threads and zombies. */
export function parseStatus(pid: number, status: string): ProcessEntry {
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
  const shared = field('RssShmem')
  return { pid, parent: field('PPid'), ownBytes: (field('VmRSS') - shared) * 1024, sharedBytes: shared * 1024 }
}

/** Lines of `ps -axo pid=,ppid=,rss=`, rss in KiB. */
export function parsePs(text: string): ProcessEntry[] {
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((fields) => fields.length === 3 && fields.every(Number.isFinite))
    .map(([pid = 0, parent = 0, rss = 0]) => ({ pid, parent, ownBytes: rss * 1024, sharedBytes: 0 }))
}

async function psOutput(): Promise<string> {
  try {
    return (await promisify(execFile)('ps', ['-axo', 'pid=,ppid=,rss='])).stdout
  } catch {
    return ''
  }
}

/** Resident memory of several processes together; what they share is counted once. */
export function residentBytes(processes: readonly ProcessEntry[]): number {
  const own = processes.reduce((sum, entry) => sum + entry.ownBytes, 0)
  return own + Math.max(0, ...processes.map((entry) => entry.sharedBytes))
}

/** A process and everything that descends from it, parents first. */
export function treeOf(root: number, processes: readonly ProcessEntry[]): ProcessEntry[] {
  const tree = processes.filter((entry) => entry.pid === root)
  // The loop sees what it adds: children of children come last.
  for (const member of tree) tree.push(...processes.filter((entry) => entry.parent === member.pid))
  return tree
}
