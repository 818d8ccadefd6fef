import { constants } from 'node:fs'
import { access, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Millis } from '../../core/clock.ts'
import { TapestryError } from '../../core/error.ts'
import { freeBytesOf } from '../../store/uploads.ts'
import { formatBytes, formatTime } from '../terminal.ts'
import { type Diagnosis, fail, ok, warn } from './diagnosis.ts'

/** Certificates last a day, and their beginning is taken at its word. */
const SKEW_WARNING_MS = 30_000
const SKEW_FAILURE_MS = 300_000
const DAY_MS = 24 * 3_600_000

/** @param least bytes without which work stops; twice as many are asked for. */
export async function examineDisk(directory: string, least: number): Promise<Diagnosis> {
  const free = await freeBytesOf(directory)
  const detail = `${formatBytes(free)} free in ${directory}`
  if (free < least) return fail(detail, `free at least ${formatBytes(least)}`)
  return free < 2 * least ? warn(detail, `work stops below ${formatBytes(least)}`) : ok(detail)
}

/** Keys that others can read are no keys. `secret` tells by its name whether a file is one. */
export async function examineKeys(
  directory: string,
  needed: readonly string[],
  secret: (name: string) => boolean,
): Promise<Diagnosis> {
  const names = await readdir(directory)
  const missing = needed.filter((name) => !names.includes(name))
  if (missing.length > 0)
    return fail(`${directory} lacks ${missing.join(', ')}`, 'restore them from where you keep copies')
  const open: string[] = []
  for (const name of names.filter(secret)) {
    await access(join(directory, name), constants.R_OK)
    if (((await stat(join(directory, name))).mode & 0o077) !== 0) open.push(name)
  }
  if (open.length === 0) return ok(`${names.filter(secret).length} in ${directory}, readable by their owner alone`)
  return fail(`others may read ${open.join(', ')}`, `chmod 600 ${open.map((name) => join(directory, name)).join(' ')}`)
}

/**
 * How far this machine's clock is from another's.
 * @param sent and received: this clock around the question; the answer was made somewhere between.
 */
export function examineClock(sent: Millis, theirs: Millis, received: Millis, whose: string): Diagnosis {
  const skew = Math.max(0, sent - theirs, theirs - received)
  const detail = `${(skew / 1000).toFixed(1)} s from ${whose}`
  const remedy = 'let NTP set the clock: certificates and deadlines are read by it'
  if (skew >= SKEW_FAILURE_MS) return fail(detail, remedy)
  return skew >= SKEW_WARNING_MS ? warn(detail, remedy) : ok(detail)
}

/** @param soon how long before its end a certificate is worth a warning. */
export function examineEnd(what: string, end: Millis, now: Millis, soon: Millis, remedy: string): Diagnosis {
  if (end <= now) return fail(`${what} ended ${formatTime(end)}`, remedy)
  const detail = `${what} lasts until ${formatTime(end)} (${Math.floor((end - now) / DAY_MS)} days)`
  return end - now < soon ? warn(detail, remedy) : ok(detail)
}

/** A directory or file that must be there to read. @throws TapestryError NOT_FOUND */
export async function requireReadable(path: string): Promise<void> {
  await access(path, constants.R_OK).catch((cause: unknown) => {
    throw new TapestryError('NOT_FOUND', `${path} cannot be read`, {
      cause,
      hint: 'is it mounted, and may this user read it?',
    })
  })
}
