import { readFileSync } from 'node:fs'

/** Resident memory of a process in MB, from /proc/<pid>/status; 0 where there is no such file. */
export function residentMegabytes(pid: number | undefined): number {
  if (pid === undefined) return 0
  try {
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return Number(match?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}
