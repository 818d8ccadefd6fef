import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { runLanes } from './lanes.ts'
import type { Report } from './schedule.ts'
import { Tally } from './tally.ts'

const USAGE = `npm run simulate -- [--seeds 200] [--first 1] [--lanes N] [--json]
npm run simulate -- --seed N      one schedule, told operation by operation
Lanes are processes that run schedules at the same time; by default one for each processor.`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '200' },
      first: { type: 'string', default: '1' },
      lanes: { type: 'string', default: String(availableParallelism()) },
      seed: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const { seed } = values
  const [first, count, lanes] = [seed ?? values.first, seed === undefined ? values.seeds : '1', values.lanes].map(
    Number,
  )
  if (values.help || !isWhole(first, 0) || !isWhole(count, 1) || !isWhole(lanes, 1)) {
    process.stderr.write(`${USAGE}\n`)
    return values.help ? 0 : 2
  }
  const startedAt = performance.now()
  const reports = await runLanes(
    Array.from({ length: count }, (_, at) => first + at),
    lanes,
    progress(count),
  )
  const wallMs = performance.now() - startedAt
  const failed = reports.filter(({ violations }) => violations.length > 0)
  if (values.json) {
    const summary = { seeds: count, first, lanes, wallMs: Math.round(wallMs), counts: countsOf(reports), failed }
    process.stdout.write(`${JSON.stringify(summary)}\n`)
  } else process.stdout.write(textOf(reports, seed === undefined ? failed : reports, wallMs))
  return failed.length === 0 ? 0 : 1
}

function isWhole(value: number | undefined, least: number): value is number {
  return Number.isInteger(value) && Number(value) >= least
}

/** Failures are told as they are found: thousands of schedules take a while. */
function progress(count: number): (report: Report) => void {
  let done = 0
  return ({ seed, violations }) => {
    done += 1
    for (const violation of violations) process.stderr.write(`seed ${seed}: ${violation}\n`)
    if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${count} schedules${done === count ? '\n' : ''}`)
  }
}

function textOf(reports: readonly Report[], told: readonly Report[], wallMs: number): string {
  const failed = reports.filter(({ violations }) => violations.length > 0).map(({ seed }) => seed)
  const outcome = failed.length === 0 ? 'nothing was lost or doubled' : `failed: seeds ${failed.join(', ')}`
  const counts = Object.entries(countsOf(reports)).map(([name, times]) => `${String(times).padStart(9)}  ${name}\n`)
  const summary = `${reports.length} schedules in ${(wallMs / 1000).toFixed(1)} s: ${outcome}\n`
  return `${told.map(scheduleText).join('\n')}${counts.join('')}${summary}`
}

function scheduleText({ seed, operations, rounds, violations }: Report): string {
  const lines = [`seed ${seed}`, ...operations.map((line) => `  ${line}`), ...rounds.map((line) => `  round ${line}`)]
  return `${[...lines, ...violations.map((line) => `  VIOLATION ${line}`)].join('\n')}\n`
}

/** What took place, and how rounds ended, over all schedules. */
function countsOf(reports: readonly Report[]): Record<string, number> {
  const tally = new Tally()
  for (const { counts, operations, rounds } of reports) {
    tally.addAll(counts)
    tally.add('operations', operations.length)
    for (const round of rounds) tally.add(`round ${/^\d+ ([a-z]+)/.exec(round)?.[1]}`)
  }
  return tally.counts()
}

process.exit(await main())
