import { TapestryError } from '../core/error.ts'

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy

/**
 * Milliseconds of a duration such as `90s`, `10m`, `24h` or `1h30m`. A bare number is refused:
 * it would be seconds to one reader and milliseconds to the next.
 * @throws TapestryError INVALID_ARGUMENT
 */
export function parseDuration(text: string): number {
  let total = 0
  let end = 0
  for (const part of text.matchAll(PART)) {
    total += Number(part[1]) * (UNIT_MS[part[2] ?? ''] ?? Number.NaN)
    end = part.index + part[0].length
  }
  if (end === 0 || end !== text.length || !Number.isSafeInteger(Math.round(total))) {
    throw new TapestryError('INVALID_ARGUMENT', `not a duration: "${text.slice(0, 40)}"`, {
      hint: 'write a number with ms, s, m, h or d, such as 90s, 10m or 24h',
    })
  }
  return Math.round(total)
}

/** A duration for people: the largest two units, such as `1h 30m` or `12.4s`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)}s`
  const units = [
    ['d', Math.floor(ms / 86_400_000)],
    ['h', Math.floor(ms / 3_600_000) % 24],
    ['m', Math.floor(ms / 60_000) % 60],
    ['s', Math.floor(ms / 1000) % 60],
  ] as const
  const first = units.findIndex(([, count]) => count > 0)
  return units
    .slice(first, first + 2)
    .filter(([, count]) => count > 0)
    .map(([unit, count]) => `${count}${unit}`)
    .join(' ')
}
