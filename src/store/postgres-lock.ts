import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What a running (or killed) postmaster wrote into `postmaster.pid`. */
export type PostgresLock = { readonly pid: number; readonly port: number }

const FILE = 'postmaster.pid'

/** Undefined when there is no lock file, or one that is not completely written yet. */
export function readPostgresLock(cluster: string): PostgresLock | undefined {
  const lines = readLines(cluster)
  const pid = Number(lines?.[0])
  const port = Number(lines?.[3])
  return Number.isInteger(pid) && pid > 0 && Number.isInteger(port) && port > 0 ? { pid, port } : undefined
}

/** True while the process is a PostgreSQL server: not gone, not a zombie, not another program with a recycled id. */
export function isPostgres(pid: number): boolean {
  try {
    if (existsSync('/proc/self/cmdline')) return /postgres\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
    return /postgres/.test(execFileSync('ps', ['-o', 'comm=', '-p', String(pid)], { encoding: 'utf8' }))
  } catch {
    return false
  }
}

/**
 * A killed postmaster's lock names a process id that a zombie may hold, or (after a container's
 * restart) any other program; PostgreSQL would then refuse to start for ever. Naming this process
 * instead makes it ignore the id, because it is its grandparent, and still check the shared memory
 * named further down, which guards against orphaned server processes.
 */
export function disarmStaleLock(cluster: string): void {
  const lines = readLines(cluster)
  if (lines === undefined || isPostgres(Number(lines[0]))) return
  writeFileSync(join(cluster, FILE), [String(process.pid), ...lines.slice(1)].join('\n'))
}

function readLines(cluster: string): string[] | undefined {
  try {
    return readFileSync(join(cluster, FILE), 'utf8').split('\n')
  } catch {
    return undefined
  }
}
