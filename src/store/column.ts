import type { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import type { RunId } from '../core/ids.ts'

/** A count as its column holds it. @throws TapestryError INVALID_ARGUMENT unless it is a whole number from 0 to 2^53-1. */
export function toCount(value: number): bigint {
  if (Number.isSafeInteger(value) && value >= 0) return BigInt(value)
  throw new TapestryError('INVALID_ARGUMENT', `not a count: ${value}`)
}

/** A measured number as its column holds it. @throws TapestryError INVALID_ARGUMENT for NaN and infinities. */
export function toMeasure(value: number): number {
  if (Number.isFinite(value)) return value
  throw new TapestryError('INVALID_ARGUMENT', `not a finite number: ${value}`)
}

/** Text that may quote what a stranger sent, or a stack trace of megabytes: shortened, and without U+0000, which PostgreSQL's text cannot hold. */
export function toText(text: string, longest = 4_000): string {
  return text.slice(0, longest).replaceAll('\0', '\uFFFD')
}

/** Parses what the database returned. @throws TapestryError DATA_INVALID when it has another form. */
export function parseStored<T>(form: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = form.safeParse(value)
  if (parsed.success) return parsed.data
  throw new TapestryError('DATA_INVALID', `the database holds an invalid ${what}`, { cause: parsed.error })
}

/**
 * The order that begins with the newest. Within a run its own count decides, for a clock may have been set back; times
 * only put the rows of several runs beside each other.
 * @param byCount the column that counts within a run
 */
export function newestFirst<const Order>(run: RunId | undefined, byCount: Order) {
  if (run !== undefined) return [byCount]
  return [{ createdAt: 'desc' as const }, { runId: 'asc' as const }, byCount]
}
