// A whole round at a real coordinator: from the first byte received to the candidate written.
// `npx tsx bench/round.ts [--quick] [--shapes 8x100,...] [--download] [--plain] [--repetitions N] [--json]`
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { ensureDigest } from '../src/core/digest.ts'
import { parameterCount } from '../src/plan/budget.ts'
import type { PlanSpec } from '../src/plan/spec.ts'
import { BenchChild } from './child.ts'
import { Coordinator } from './coordinator.ts'
import { type Limits, measureLimits } from './limits.ts'
import { machineCpu } from './machine.ts'
import { TreeMeter, type Usage } from './process-tree.ts'
import { REPETITIONS, type Spread, spreadOf } from './statistics.ts'
import { planOfSize } from './workload.ts'
import { withWorkspace } from './workspace.ts'

export type RoundSize = { readonly nodes: number; readonly megabytes: number }

/**
 * Rounds to measure, such as `8x100,4x1000` (nodes x MB); by default the smallest that a target is about.
 * @throws RangeError for any other text.
 */
export function parseShapes(text = '8x100'): readonly RoundSize[] {
  return text.split(',').map((shape) => {
    const [, nodes, megabytes] = /^([1-9]\d{0,2})x([1-9]\d{0,4})$/.exec(shape.trim()) ?? []
    if (nodes === undefined || megabytes === undefined) throw new RangeError(`not nodes x MB, such as 8x100: ${shape}`)
    return { nodes: Number(nodes), megabytes: Number(megabytes) }
  })
}

export const QUICK_SIZE: RoundSize = { nodes: 3, megabytes: 1 }

const readySchema = z.object({ type: z.literal('ready'), digests: z.array(z.string()) })
const timesSchema = z.object({
  type: z.literal('round'),
  began: z.number(),
  downloaded: z.number(),
  uploaded: z.number(),
  submitted: z.number(),
  candidate: z.number(),
})
/** Its memory is the nodes', not the coordinator's. */
const DRIVER = 'driver'
/** Rounds that take longer are not repeated as often: every size is to end within six minutes. */
const LONG_SECONDS = 12
const LONG_REPETITIONS = 3
const listeningSchema = z.object({ type: z.literal('listening'), port: z.number() })
const messageSchema = z.discriminatedUnion('type', [readySchema, timesSchema])

/** One repetition. Seconds count from the first byte. */
type Repetition = {
  readonly downloadSeconds: number
  /** Until the last delta was stored and its digest checked. */
  readonly uploadSeconds: number
  /** Until every value was inspected and the last contribution accepted. */
  readonly acceptSeconds: number
  readonly wallSeconds: number
  readonly usage: Usage
  /** Share of all processor time that neither the coordinator nor the nodes took: other people's work. */
  readonly othersShare: number
}

export type RoundFigure = {
  readonly nodes: number
  /** Bytes of one delta, without its header. */
  readonly deltaBytes: number
  /** Whether every node fetched the base first, inside the measured time. */
  readonly download: boolean
  readonly wallSeconds: Spread
  readonly downloadSeconds: Spread
  readonly uploadSeconds: Spread
  readonly acceptSeconds: Spread
  /** Processor seconds of the coordinator's processes for 10^9 bytes of deltas. */
  readonly cpuSecondsPerGb: Spread
  readonly peakBytes: Spread
  readonly peakShareBytes: Spread
  readonly peakOf: Readonly<Record<string, number>>
  readonly othersShare: Spread
  /** The same rounds with uploads that came without TLS, over a bench-only listener; undefined when not asked for. */
  readonly plainWallSeconds: Spread | undefined
  readonly limits: Limits
  /** What receiving, hashing, writing and reading the same bytes takes by itself, one after the other, in seconds. */
  readonly physicalSeconds: number
  /** The same where the bytes arrive under TLS. */
  readonly physicalTlsSeconds: number
}

export type RoundOptions = {
  readonly quick?: boolean
  readonly download?: boolean
  /** Play each round once more without TLS. */
  readonly plain?: boolean
  readonly repetitions?: number
}

/** Measures one size, and the machine's limits just before. @param repetitions rounds. */
export function measureRound(
  { nodes, megabytes }: RoundSize,
  { quick = false, download = false, plain = false, repetitions = quick ? 1 : REPETITIONS }: RoundOptions = {},
): Promise<RoundFigure> {
  const spec = planOfSize(megabytes * 1e6)
  const deltaBytes = parameterCount(spec.architecture) * 4
  return withWorkspace('round', async (directory) => {
    const limits = await measureLimits({ quick, directory })
    const home = join(directory, 'coordinator')
    await createFederation(home, spec, nodes)
    // Anew: a coordinator that has just made initial weights would still hold their memory.
    const coordinator = await Coordinator.serve(home)
    try {
      const invitations = await coordinator.invite(nodes)
      const task = {
        directory,
        coordinator: home,
        invitations,
        spec,
        rounds: plain ? 2 * repetitions : repetitions,
        download,
      }
      await writeFile(join(directory, 'task.json'), JSON.stringify(task))
      const rounds = await playRounds(coordinator, join(directory, 'task.json'), { repetitions, plain })
      return summarise({ nodes, deltaBytes, download }, rounds, limits)
    } finally {
      await coordinator.stop()
    }
  })
}

async function createFederation(home: string, spec: PlanSpec, nodes: number): Promise<void> {
  await Coordinator.init(home)
  const coordinator = await Coordinator.serve(home)
  await coordinator.createRun(spec, nodes).finally(() => coordinator.stop())
}

type Rounds = { readonly tls: readonly Repetition[]; readonly plain: readonly Repetition[] }

/** With and without TLS in turn. */
async function playRounds(
  coordinator: Coordinator,
  task: string,
  { repetitions, plain }: { readonly repetitions: number; readonly plain: boolean },
): Promise<Rounds> {
  const listener = plain ? new BenchChild('plain-listener.ts', [coordinator.directory], listeningSchema) : undefined
  const driver = new BenchChild('upload-driver.ts', [task], messageSchema)
  const rounds: { tls: Repetition[]; plain: Repetition[] } = { tls: [], plain: [] }
  try {
    const plainPort = (await listener?.next())?.port
    let took = 0
    for (let i = 0; i < (took > LONG_SECONDS ? Math.min(LONG_REPETITIONS, repetitions) : repetitions); i += 1) {
      const round = await playRound(coordinator, driver, {})
      took = round.wallSeconds
      rounds.tls.push(round)
      if (plainPort !== undefined) rounds.plain.push(await playRound(coordinator, driver, { plainPort }))
      process.stderr.write(`bench: round ${i + 1} of ${repetitions}, ${took.toFixed(1)} s\n`)
    }
    return rounds
  } finally {
    await driver.stop()
    await listener?.stop()
  }
}

async function playRound(
  coordinator: Coordinator,
  driver: BenchChild<z.infer<typeof messageSchema>>,
  how: { readonly plainPort?: number },
): Promise<Repetition> {
  const { digests } = readySchema.parse(await driver.next())
  // What was written to make the deltas must not be written back while the round is measured.
  execFileSync('sync')
  const meter = new TreeMeter({ ...coordinator.roots(), [DRIVER]: driver.pid }, [DRIVER])
  const before = machineCpu()
  meter.start()
  driver.send(how)
  const times = timesSchema.parse(await driver.next())
  const usage = meter.stop()
  const after = machineCpu()
  await coordinator.forget(digests.map(ensureDigest))
  const since = (at: number) => (at - times.began) / 1000
  const ours = usage.cpuSeconds + usage.asideCpuSeconds
  return {
    downloadSeconds: since(times.downloaded),
    uploadSeconds: since(times.uploaded),
    acceptSeconds: since(times.submitted),
    wallSeconds: since(times.candidate),
    usage,
    othersShare: Math.max(0, (after.busy - before.busy - ours) / Math.max(after.total - before.total, 1e-9)),
  }
}

type Subject = { readonly nodes: number; readonly deltaBytes: number; readonly download: boolean }

function summarise(subject: Subject, { tls: rounds, plain }: Rounds, limits: Limits): RoundFigure {
  const { nodes, deltaBytes } = subject
  const of = (pick: (round: Repetition) => number) => spreadOf(rounds.map(pick))
  const received = nodes * deltaBytes
  const worst = rounds.toSorted((a, b) => b.usage.peakBytes - a.usage.peakBytes)[0]
  return {
    ...subject,
    wallSeconds: of((round) => round.wallSeconds),
    downloadSeconds: of((round) => round.downloadSeconds),
    uploadSeconds: of((round) => round.uploadSeconds),
    acceptSeconds: of((round) => round.acceptSeconds),
    cpuSecondsPerGb: of((round) => (round.usage.cpuSeconds / received) * 1e9),
    peakBytes: of((round) => round.usage.peakBytes),
    peakShareBytes: of((round) => round.usage.peakShareBytes),
    peakOf: worst?.usage.peakOf ?? {},
    othersShare: of((round) => round.othersShare),
    plainWallSeconds: plain.length === 0 ? undefined : spreadOf(plain.map((round) => round.wallSeconds)),
    limits,
    physicalSeconds: physicalSeconds(received, deltaBytes, limits, limits.tcp),
    physicalTlsSeconds: physicalSeconds(received, deltaBytes, limits, limits.tls),
  }
}

/** Receive, hash, write (deltas and candidate, durably) and read once more from memory, nothing overlapping. */
function physicalSeconds(received: number, model: number, limits: Limits, network: Spread): number {
  const seconds = (bytes: number, rate: Spread) => bytes / (rate.median * 1e9)
  return (
    seconds(received, network) +
    seconds(received, limits.sha256) +
    seconds(received + model, limits.diskWrite) +
    seconds(received + model, limits.memcpy)
  )
}

/** One line for a terminal. */
export function roundLine(figure: RoundFigure): string {
  const { nodes, deltaBytes, wallSeconds, uploadSeconds, acceptSeconds, cpuSecondsPerGb, peakBytes } = figure
  const seconds = (spread: Spread) => spread.median.toFixed(2)
  return [
    `${nodes} x ${(deltaBytes / 1e6).toFixed(1)} MB: ${seconds(wallSeconds)} s,`,
    `without TLS ${figure.plainWallSeconds === undefined ? '-' : seconds(figure.plainWallSeconds)}`,
    `(stored ${seconds(uploadSeconds)}, accepted ${seconds(acceptSeconds)};`,
    `physical parts ${figure.physicalSeconds.toFixed(2)}, with TLS ${figure.physicalTlsSeconds.toFixed(2)}),`,
    `CPU ${cpuSecondsPerGb.median.toFixed(2)} s/GB, peak ${(peakBytes.most / 1e6).toFixed(0)} MB (shared out ${(figure.peakShareBytes.most / 1e6).toFixed(0)}),`,
    `others ${(100 * figure.othersShare.median).toFixed(0)} % of the machine`,
  ].join(' ')
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      download: { type: 'boolean', default: false },
      plain: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      shapes: { type: 'string' },
      repetitions: { type: 'string' },
    },
  })
  const { quick, download, plain } = values
  const sizes = quick ? [QUICK_SIZE] : parseShapes(values.shapes)
  const repetitions = values.repetitions === undefined ? {} : { repetitions: Number(values.repetitions) }
  for (const size of sizes) {
    const figure = await measureRound(size, { quick, download, plain, ...repetitions })
    process.stdout.write(`${values.json ? JSON.stringify(figure) : roundLine(figure)}\n`)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
