import type { Machine } from './machine.ts'
import type { BarPlot } from './plot.ts'
import { percent, table } from './table.ts'

/** Draws a plot beside the document. @returns the Markdown that shows it. */
export type Plotter = (name: string, what: BarPlot) => string

/** Above this share of all processor time, somebody else was at work when it was measured. */
const QUIET_SHARE = 0.1

/** What was asked of a figure, and whether it is so. */
export type Target = { readonly what: string; readonly met: boolean | 'not judged'; readonly found: string }

/** Whether nothing was found to be missed. */
export function isMet({ met }: Target): boolean {
  return met !== false
}

/** Whether somebody else was at work when it was measured. */
export function isLoud({ load, busyBefore }: Machine): boolean {
  return busyBefore === undefined ? (load[0] ?? 0) > 1 : busyBefore > QUIET_SHARE
}

/** Where and when a section was measured, and how far it can be trusted. */
export function machineLine(machine: Machine): string {
  const { processor, processors, memoryBytes, kernel, node, load, busyBefore, at } = machine
  const warning = isLoud(machine)
    ? ' **The machine was not quiet: others shared its processors. Read no absolute number from this section; quotients of what was interleaved are fairer, not exact.**'
    : ''
  const used = busyBefore === undefined ? '' : `, ${percent(busyBefore)} of the processors in use before`
  const what = `${processors} x ${processor}, ${(memoryBytes / 1e9).toFixed(0)} GB, ${kernel}, Node ${node.slice(1)}`
  return `${what}; ${at.slice(0, 16).replace('T', ' ')} UTC, load average ${load.join(', ')}${used}.${warning}\n`
}

/** A table of verdicts; nothing when there are none. */
export function targets(all: readonly Target[]): string {
  const rows = all.map(({ what, met, found }) => [what, verdictOf(met), found])
  return rows.length === 0 ? '' : `\n${table(['target', '', 'found'], rows)}`
}

function verdictOf(met: Target['met']): string {
  if (met === 'not judged') return 'not judged: the machine was not quiet'
  return met ? 'met' : '**missed**'
}
