import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

const LOOK_MS = 2000

/** Where a figure was measured: without it no figure means anything. */
export type Machine = {
  readonly processor: string
  readonly processors: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  /** Load averages over 1, 5 and 15 minutes when the measurement began: earlier measurements are part of them. */
  readonly load: readonly number[]
  /** Share of all processor time that was in use just before the measurement began, 0 to 1: other people's work. Absent where nobody looked. */
  readonly busyBefore?: number
  readonly at: string
}

/** Looks at the machine while this process does nothing. */
export async function describeMachine(): Promise<Machine> {
  const before = machineCpu()
  await delay(LOOK_MS)
  const after = machineCpu()
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    processors: cpus().length,
    memoryBytes: totalmem(),
    kernel: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    load: loadavg().map((value) => Math.round(value * 100) / 100),
    busyBefore: (after.busy - before.busy) / (after.total - before.total),
    at: new Date().toISOString(),
  }
}

/**
 * Seconds of processor time that the whole machine spent since it started, and could have spent:
 * the share that others took of a measurement follows from two readings and one's own usage.
 */
export function machineCpu(): { readonly busy: number; readonly total: number } {
  // /proc/stat, proc(5): user nice system idle iowait irq softirq steal, in ticks of 1/100 s.
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? ''
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
  const total = ticks.reduce((sum, value) => sum + value, 0) / 100
  return { busy: total - ((ticks[3] ?? 0) + (ticks[4] ?? 0)) / 100, total }
}
