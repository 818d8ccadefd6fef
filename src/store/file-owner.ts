import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { Millis } from '../core/clock.ts'

/** `<host>-<pid>-<start>-<random>`: which process of which machine a file in the making belongs to. */
const FORM = /^([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{12}$/

const HOST = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)

/** A name that nobody else uses, by which others can tell whether its owner still lives. */
export function ownedName(): string {
  return `${HOST}-${process.pid}-${startOf(process.pid) ?? 0}-${randomBytes(6).toString('hex')}`
}

/**
 * True when the owner of a file can no longer write to it: its process is gone (its id may belong
 * to another process by now, hence the start time), or it is on another machine, whose processes
 * cannot be seen, and has been silent for too long. Names of another form have no owner.
 * @param silence milliseconds since the last write.
 */
export function ownerIsGone(name: string, silence: Millis, longestSilence: Millis): boolean {
  const [, host, pid, start] = FORM.exec(name) ?? []
  if (host === undefined) return true
  if (host !== HOST) return silence > longestSilence
  return startOf(Number(pid)) !== Number(start)
}

/** When a process started, in the kernel's ticks; 0 where the system does not tell; undefined when there is no such process. */
function startOf(pid: number): number | undefined {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return undefined
  }
  try {
    // Field 22 of proc(5) stat; the second field is the program's name and may hold anything up to the last ")".
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(fields.slice(fields.lastIndexOf(')') + 2).split(' ')[19])
  } catch {
    return 0
  }
}
