import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'

const DAY_MS = 24 * 3600 * 1000

/** A day of the calendar, `YYYY-MM-DD`. @throws TapestryError INVALID_ARGUMENT for any other text, such as 2026-02-30. */
export function ensureDay(text: string): string {
  const start = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  if (!Number.isNaN(start) && dayOf(start) === text) return text
  throw new TapestryError('INVALID_ARGUMENT', `not a day: "${text.slice(0, 40)}" (expected YYYY-MM-DD)`)
}

/** The day, in UTC, that a moment lies in. */
export function dayOf(moment: Millis): string {
  return new Date(moment).toISOString().slice(0, 10)
}

/** The first moment of a day, in UTC. */
export function startOf(day: string): Millis {
  return Date.parse(`${day}T00:00:00Z`)
}

/** The first moment after a day, in UTC. */
export function endOf(day: string): Millis {
  return startOf(day) + DAY_MS
}
