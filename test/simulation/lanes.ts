import { fork } from 'node:child_process'
import type { Report } from './schedule.ts'

type Said = 'ready' | Report | { readonly seed: number; readonly crash: string }

/**
 * Runs schedules in so many processes at a time, each with a database server of its own.
 * @returns their reports, in order of seed
 * @throws Error when a schedule throws, or a process ends
 */
export async function runLanes(
  seeds: readonly number[],
  lanes: number,
  onReport: (report: Report) => void,
): Promise<Report[]> {
  const left = seeds.values()
  const reports: Report[] = []
  const keep = (report: Report) => {
    reports.push(report)
    onReport(report)
  }
  await Promise.all(Array.from({ length: Math.min(lanes, seeds.length) }, () => runLane(left, keep)))
  return reports.sort((one, other) => one.seed - other.seed)
}

function runLane(seeds: Iterator<number>, keep: (report: Report) => void): Promise<void> {
  const child = fork(new URL('./lane-child.ts', import.meta.url), { execArgv: ['--import', 'tsx'] })
  return new Promise((resolve, reject) => {
    child.on('message', (said: Said) => {
      if (said !== 'ready' && 'crash' in said) return reject(new Error(`seed ${said.seed}: ${said.crash}`))
      if (said !== 'ready') keep(said)
      const next = seeds.next()
      child.send(next.done ? 'end' : next.value)
    })
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a lane ended with code ${code}`))))
  })
}
