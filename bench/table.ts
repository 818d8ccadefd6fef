import { shortNumber } from './plot.ts'
import type { Spread } from './statistics.ts'

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}

/** Median, and the extremes where there are several samples. */
export function spread({ median, least, most, count }: Spread): string {
  if (count === 1) return shortNumber(median)
  return `${shortNumber(median)} (${shortNumber(least)}-${shortNumber(most)})`
}

export function ratio(value: number, other: number): string {
  return shortNumber(value / other)
}

export function optional(value: number | undefined): string {
  return value === undefined ? '-' : shortNumber(value)
}

/** Bytes in MB (10^6 bytes), without the unit. */
export function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}
