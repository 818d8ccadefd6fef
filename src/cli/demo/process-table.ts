import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** One process: its parent and the memory it has resident. */
export type ProcessEntry = { readonly pid: number; readonly parent: number; readonly rssBytes: number }

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

/** /proc/<pid>/status, proc(5): VmRSS in KiB, absent for kernel threads and zombies. */
export function parseStatus(pid: number, status: string): ProcessEntry {
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
  return { pid, parent: field('PPid'), rssBytes: field('VmRSS') * 1024 }
}

/** Lines of `ps -axo pid=,ppid=,rss=`, rss in KiB. */
export function parsePs(text: string): ProcessEntry[] {
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((fields) => fields.length === 3 && fields.every(Number.isFinite))
    .map(([pid = 0, parent = 0, rss = 0]) => ({ pid, parent, rssBytes: rss * 1024 }))
}

async function psOutput(): Promise<string> {
  try {
    return (await promisify(execFile)('ps', ['-axo', 'pid=,ppid=,rss='])).stdout
  } catch {
    return ''
  }
}

/** A process and everything that descends from it, parents first. */
export function treeOf(root: number, processes: readonly ProcessEntry[]): ProcessEntry[] {
  const tree = processes.filter((entry) => entry.pid === root)
  // The loop sees what it adds: children of children come last.
  for (const member of tree) tree.push(...processes.filter((entry) => entry.parent === member.pid))
  return tree
}
