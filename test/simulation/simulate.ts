import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts'
import { CLUSTER_VARIABLE } from '../postgres.ts'
import { testCoordinator } from '../rounds.ts'
import { type Report, simulate } from './schedule.ts'

const USAGE = `npm run simulate -- [--seeds 200] [--first 1] [--json]
npm run simulate -- --seed N      one schedule, told operation by operation`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '200' },
      first: { type: 'string', default: '1' },
      seed: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const [count, first, one] = [values.seeds, values.first, values.seed].map((text) => Number(text ?? Number.NaN))
  if (values.help || !Number.isInteger(count) || !Number.isInteger(first)) {
    process.stderr.write(`${USAGE}\n`)
    return values.help ? 0 : 2
  }
  const seeds = Number.isInteger(one)
    ? [one]
    : Array.from({ length: count as number }, (_, at) => (first as number) + at)
  const reports = await simulateAll(seeds as number[])
  const failed = reports.filter(({ violations }) => violations.length > 0)
  const told = seeds.length === 1 ? reports : failed
  if (values.json) process.stdout.write(`${JSON.stringify({ seeds: seeds.length, failed })}\n`)
  else process.stdout.write(`${told.map(textOf).join('\n')}${summaryOf(reports)}\n`)
  return failed.length === 0 ? 0 : 1
}

async function simulateAll(seeds: readonly number[]): Promise<Report[]> {
  const cluster = await mkdtemp(join(tmpdir(), 'tapestry-simulation-postgres-'))
  process.env[CLUSTER_VARIABLE] = cluster
  const server = await startEmbeddedPostgres(cluster, { durable: false })
  const coordinator = await testCoordinator()
  const reports: Report[] = []
  try {
    for (const seed of seeds) {
      reports.push(await simulate(coordinator, seed))
      if (process.stderr.isTTY) process.stderr.write(`\r${reports.length} of ${seeds.length} schedules`)
    }
  } finally {
    if (process.stderr.isTTY) process.stderr.write('\n')
    await coordinator.close()
    await server.stop()
    await rm(cluster, { recursive: true, force: true })
  }
  return reports
}

function textOf({ seed, operations, rounds, violations }: Report): string {
  const lines = [`seed ${seed}`, ...operations.map((line) => `  ${line}`), ...rounds.map((line) => `  round ${line}`)]
  return `${[...lines, ...violations.map((line) => `  VIOLATION ${line}`)].join('\n')}\n`
}

function summaryOf(reports: readonly Report[]): string {
  const rounds = reports.flatMap((report) => report.rounds.map((line) => line.split(' ')[1]?.replace(':', '') ?? ''))
  const phases = [...new Set(rounds)].sort().map((phase) => `${rounds.filter((one) => one === phase).length} ${phase}`)
  const failed = reports.filter(({ violations }) => violations.length > 0).map(({ seed }) => seed)
  const operations = reports.reduce((sum, report) => sum + report.operations.length, 0)
  const outcome = failed.length === 0 ? 'nothing was lost or doubled' : `failed: seeds ${failed.join(', ')}`
  return `${reports.length} schedules, ${operations} operations, rounds: ${phases.join(', ')}; ${outcome}`
}

// What killed processes left behind keeps timers: nobody waits for them.
process.exit(await main())
