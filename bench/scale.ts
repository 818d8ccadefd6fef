// The control plane with many nodes that watch, join and submit small updates: `npm run bench -- scale`, or
// `npx tsx bench/scale.ts [--nodes N,N,...] [--parallel N] [--quick]`
import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { z } from 'zod'
import { coordinatorPaths } from '../src/cli/coordinator-directory.ts'
import { type CoordinatorParts, openCoordinator } from '../src/cli/coordinator-parts.ts'
import { systemClock } from '../src/core/clock.ts'
import { ensureMemberId, ensureNodeId } from '../src/core/ids.ts'
import { OperatorService } from '../src/gen/proto/tapestry/v1/operator_pb.ts'
import { RoundPhase, RoundService } from '../src/gen/proto/tapestry/v1/round_pb.ts'
import { publicKeyOf } from '../src/identity/key-file.ts'
import type { Channel } from '../src/participant/channel.ts'
import { BenchChild } from './child.ts'
import { Coordinator, RUN } from './coordinator.ts'
import { type Cost, CostMeter } from './scale-cost.ts'
import { SCALE_SPEC } from './scale-plan.ts'
import { secondsOf } from './statistics.ts'
import { withWorkspace } from './workspace.ts'

/** Half of the calls took no longer than p50 ms, 99 of 100 no longer than p99. */
export type Latency = { readonly p50: number; readonly p99: number }

export type ScaleFigure = {
  readonly nodes: number
  /** Calls that were under way at once. */
  readonly parallel: number
  readonly connectsPerSecond: number
  readonly connect: Cost
  /** Resident memory of the serving process for each connected node that watches. */
  readonly bytesPerNode: number
  readonly servingBytes: number
  /** From the call that opens a round until a node hears of it: all nodes are told at once. */
  readonly watchMs: Latency
  readonly watch: Cost
  readonly joinMs: Latency
  readonly joinsPerSecond: number
  readonly join: Cost
  /** Announcing, sending and submitting one update. */
  readonly updateMs: Latency
  readonly updatesPerSecond: number
  readonly update: Cost
  /** To and fro, inside TLS; an update's delta of some kB is part of its. */
  readonly connectBytes: number
  readonly joinBytes: number
  readonly updateBytes: number
  /** From the last update until the candidate was written. */
  readonly mergeSeconds: number
}

export const SCALE_NODES = [100, 1000, 10_000] as const
const QUICK_NODES = [20]
const PARALLEL = 256
const DRIVERS = 2
/** Nodes that one transaction enrols here. */
const ENROL_BATCH = 500
/** A process has its own connections, files and libraries besides. */
const SPARE_DESCRIPTORS = 500

const answerSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('nodes'), nodes: z.array(z.object({ id: z.string(), key: z.string() })) }),
  z.object({ type: z.literal('done'), ms: z.array(z.number()), seconds: z.number(), bytes: z.number() }),
])
type Driver = BenchChild<z.infer<typeof answerSchema>>

/** Measures each number of nodes at a coordinator of its own. @param onFigure called after each. */
export async function measureScale(
  {
    quick = false,
    nodes = quick ? QUICK_NODES : SCALE_NODES,
    parallel = PARALLEL,
  }: { readonly quick?: boolean; readonly nodes?: readonly number[]; readonly parallel?: number } = {},
  onFigure: (figure: ScaleFigure) => void = () => undefined,
): Promise<ScaleFigure[]> {
  const figures: ScaleFigure[] = []
  for (const count of nodes) {
    const most = await descriptorLimit()
    if (count + SPARE_DESCRIPTORS > most) {
      say(`${count} nodes need more file descriptors than ${most} a process: raise the limit (ulimit -n)`)
      continue
    }
    const figure = await withWorkspace('scale', (directory) => measureOne(directory, count, parallel))
    figures.push(figure)
    onFigure(figure)
  }
  return figures
}

async function measureOne(directory: string, count: number, parallel: number): Promise<ScaleFigure> {
  const home = join(directory, 'coordinator')
  await prepare(home)
  const coordinator = await Coordinator.serve(home, { TAPESTRY_MAX_CONNECTIONS: String(count + SPARE_DESCRIPTORS) })
  const parts = await openCoordinator({
    dir: home,
    flags: {},
    env: {},
    clock: systemClock,
    log: pino({ level: 'silent' }),
  })
  const drivers: Driver[] = []
  const meter = await CostMeter.open(parts.databaseUrl, coordinator.roots())
  try {
    await coordinator.createRun(SCALE_SPEC, count)
    drivers.push(...startDrivers(coordinator.address, parts, count, parallel))
    await enrol(parts, drivers)
    say(`${count} nodes have certificates and are enrolled`)
    return { nodes: count, parallel, ...(await play(coordinator, meter, drivers, count)) }
  } finally {
    for (const driver of drivers) await driver.stop()
    await meter.close()
    await parts.context.store.close()
    await coordinator.stop()
  }
}

/** Makes a federation whose database counts statements. */
async function prepare(home: string): Promise<void> {
  await Coordinator.init(home)
  await (await Coordinator.serve(home)).stop()
  const settings = join(coordinatorPaths(home).postgres, 'postgres', 'postgresql.auto.conf')
  await appendFile(settings, "shared_preload_libraries = 'pg_stat_statements'\n")
}

function startDrivers(address: string, { secrets, context }: CoordinatorParts, count: number, parallel: number) {
  const share = Math.ceil(count / DRIVERS)
  const starts = Array.from({ length: DRIVERS }, (_, i) => i * share).filter((first) => first < count)
  return starts.map((first): Driver => {
    const task = {
      url: `https://${address}`,
      authority: secrets.authority,
      federation: context.federation,
      first,
      count: Math.min(share, count - first),
      parallel: Math.max(1, Math.round(parallel / starts.length)),
    }
    return new BenchChild('scale-driver.ts', [JSON.stringify(task)], answerSchema)
  })
}

/** Writes the nodes' rows; what Enroll does besides is measured nowhere here. */
async function enrol({ context }: CoordinatorParts, drivers: readonly Driver[]): Promise<void> {
  const member = ensureMemberId('bench')
  const { store } = context
  await store.transact('bench-member', (tx) => tx.ensureMember(member, Date.now()))
  for (const driver of drivers) {
    const answer = await driver.next()
    const nodes = answer.type === 'nodes' ? answer.nodes : []
    for (let at = 0; at < nodes.length; at += ENROL_BATCH) {
      await store.transact('bench-enrol', async (tx) => {
        for (const { id, key } of nodes.slice(at, at + ENROL_BATCH)) {
          const row = { id: ensureNodeId(id), member, name: 'bench', genesis: '{}', publicKey: publicKeyOf(key) }
          await tx.createNode({ ...row, enrolledAt: Date.now() })
        }
      })
    }
  }
}

async function play(coordinator: Coordinator, meter: CostMeter, drivers: readonly Driver[], count: number) {
  const before = await resident(coordinator.pid)
  const step = async (order: object) => {
    await meter.begin()
    const told = await tellAll(drivers, order)
    return { ...told, cost: await meter.end(count), perSecond: count / told.seconds, bytes: told.bytes / count }
  }
  const connecting = await step({ type: 'connect' })
  const servingBytes = await resident(coordinator.pid)
  say(`connected, ${connecting.perSecond.toFixed(0)} a second`)
  const operator = await coordinator.operator()
  try {
    const since = performance.timeOrigin + performance.now()
    const opening = operator.call(OperatorService.method.startRound, { run: RUN })
    const watching = await step({ type: 'heard', since })
    const { round } = await opening
    const place = { run: RUN, number: round?.ref?.number ?? 0, base: round?.baseDigest ?? '' }
    const joining = await step({ type: 'join', round: place })
    say(`joined, ${joining.perSecond.toFixed(0)} a second`)
    const submitting = await step({ type: 'submit', round: place })
    say(`submitted, ${submitting.perSecond.toFixed(0)} a second`)
    const mergeSeconds = await secondsOf(() => merged(operator, place))
    return {
      connectsPerSecond: connecting.perSecond,
      connect: connecting.cost,
      connectBytes: connecting.bytes,
      bytesPerNode: (servingBytes - before) / count,
      servingBytes,
      watchMs: latencyOf(watching.ms),
      watch: watching.cost,
      joinMs: latencyOf(joining.ms),
      joinsPerSecond: joining.perSecond,
      join: joining.cost,
      joinBytes: joining.bytes,
      updateMs: latencyOf(submitting.ms),
      updatesPerSecond: submitting.perSecond,
      update: submitting.cost,
      updateBytes: submitting.bytes,
      mergeSeconds,
    }
  } finally {
    operator.close()
  }
}

/** Gives all drivers the same order. @returns what each node took, the time of the slowest driver, and the bytes of all. */
async function tellAll(drivers: readonly Driver[], order: object) {
  for (const driver of drivers) driver.send(order)
  const answers = await Promise.all(drivers.map((driver) => driver.next()))
  const done = answers.filter((answer) => answer.type === 'done')
  return {
    ms: done.flatMap(({ ms }) => ms),
    seconds: Math.max(...done.map(({ seconds }) => seconds)),
    bytes: done.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}

async function merged(operator: Channel, ref: { readonly run: string; readonly number: number }): Promise<void> {
  for (;;) {
    const { round } = await operator.call(RoundService.method.getRound, { ref })
    if (round !== undefined && round.candidateDigest !== '') return
    if (round?.phase === RoundPhase.FAILED) throw new Error(`the round failed: ${round.reason}`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

export function latencyOf(ms: readonly number[]): Latency {
  const sorted = ms.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99) }
}

/** VmRSS, proc(5). */
async function resident(pid: number): Promise<number> {
  return Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

async function descriptorLimit(): Promise<number> {
  const [, soft] = /^Max open files\s+(\S+)/m.exec(await readFile('/proc/self/limits', 'utf8')) ?? []
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`)
}

/** One line for a terminal. */
export function scaleLine(figure: ScaleFigure): string {
  const ms = ({ p50, p99 }: Latency) => `${p50.toFixed(1)} / ${p99.toFixed(1)} ms`
  return [
    `${figure.nodes} nodes: ${(figure.bytesPerNode / 1000).toFixed(0)} kB each`,
    `told in ${ms(figure.watchMs)}`,
    `joined in ${ms(figure.joinMs)}, ${figure.joinsPerSecond.toFixed(0)}/s, ${figure.join.statements.toFixed(1)} statements`,
    `updated in ${ms(figure.updateMs)}, ${figure.updatesPerSecond.toFixed(0)}/s, ${figure.update.statements.toFixed(1)} statements, ${figure.update.rows.toFixed(1)} rows, ${figure.update.servingCpuMs.toFixed(1)} + ${figure.update.databaseCpuMs.toFixed(1)} ms of processors`,
    `merged in ${figure.mergeSeconds.toFixed(1)} s`,
  ].join('; ')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { quick: { type: 'boolean', default: false }, nodes: { type: 'string' }, parallel: { type: 'string' } },
  })
  const nodes = values.nodes?.split(',').map(Number)
  const options = { quick: values.quick, ...(nodes && { nodes }), parallel: Number(values.parallel ?? PARALLEL) }
  await measureScale(options, (figure) => process.stdout.write(`${scaleLine(figure)}\n`))
}
