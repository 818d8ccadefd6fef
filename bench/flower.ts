// The same round at Flower and here, one after the other on one machine.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { TreeMeter } from './process-tree.ts'
import { ensurePeers, pythonProgram } from './python.ts'
import { measureRound, type RoundFigure, type RoundOptions, type RoundSize } from './round.ts'
import { REPETITIONS, type Spread, spreadOf } from './statistics.ts'
import { withWorkspace } from './workspace.ts'

export type FlowerRound = {
  /** From before the model goes out until the mean is there. */
  readonly wallSeconds: Spread
  readonly peakBytes: number
  readonly peakShareBytes: number
  readonly cpuSeconds: number
  readonly rounds: number
}

export type FlowerFigure = {
  readonly nodes: number
  readonly megabytes: number
  readonly flower: FlowerRound
  /** Ours, with the download of the base by every node inside the time, as Flower's has it. */
  readonly tapestry: RoundFigure
  /** Flower's divided by ours. */
  readonly ratios: { readonly wall: number; readonly peak: number; readonly peakShare: number }
}

const APP = fileURLToPath(new URL('./flower', import.meta.url))
const LEAST_ROUNDS = 3
const START_MS = 60_000
const RUN_MS = 1_800_000

const lineSchema = z.object({ round: z.number(), replies: z.number(), wallSeconds: z.number() })

/** Measures Flower, then Tapestry, at one size. */
export async function compareWithFlower(
  size: RoundSize,
  { quick = false, repetitions = quick ? 1 : REPETITIONS }: Omit<RoundOptions, 'download'> = {},
): Promise<FlowerFigure> {
  ensurePeers()
  const flower = await measureFlower(size, quick ? 1 : LEAST_ROUNDS)
  const tapestry = await measureRound(size, { quick, download: true, repetitions })
  const figure: FlowerFigure = {
    ...size,
    flower,
    tapestry,
    ratios: {
      wall: flower.wallSeconds.median / tapestry.wallSeconds.median,
      peak: flower.peakBytes / tapestry.peakBytes.most,
      peakShare: flower.peakShareBytes / tapestry.peakShareBytes.most,
    },
  }
  return figure
}

function measureFlower({ nodes, megabytes }: RoundSize, rounds: number): Promise<FlowerRound> {
  return withWorkspace('flower', async (directory) => {
    const [fleet, control, serverApp] = await freePorts()
    const flower = new FlowerProcesses(directory)
    const floats = Math.round((megabytes * 1e6) / 4)
    try {
      const link = flower.start('flower-superlink', [
        '--insecure',
        ...['--control-api-address', `127.0.0.1:${control}`],
        ...['--fleet-api-address', `127.0.0.1:${fleet}`],
        ...['--serverappio-api-address', `127.0.0.1:${serverApp}`],
      ])
      await reachable(control, link)
      await reachable(fleet, link)
      flower.start('python', [join(APP, 'nodes.py'), String(nodes), String(floats), `127.0.0.1:${fleet}`])
      const meter = new TreeMeter({ superlink: link.pid ?? 0 })
      meter.start()
      const lines = await flower.run(control, { rounds, floats, nodes })
      const usage = meter.stop()
      if (lines.some(({ replies }) => replies !== nodes)) throw new Error('a node of Flower did not answer')
      return {
        wallSeconds: spreadOf(lines.map(({ wallSeconds }) => wallSeconds)),
        peakBytes: usage.peakBytes,
        peakShareBytes: usage.peakShareBytes,
        cpuSeconds: usage.cpuSeconds,
        rounds,
      }
    } finally {
      await flower.stop()
    }
  })
}

/** Flower's processes, with a home of their own: nothing of the user's is read or written. */
class FlowerProcesses {
  readonly #directory: string
  readonly #env: NodeJS.ProcessEnv
  readonly #children: ChildProcess[] = []

  constructor(directory: string) {
    this.#directory = directory
    this.#env = {
      ...process.env,
      // SuperLink finds its helpers by name.
      PATH: `${dirname(pythonProgram('python'))}${delimiter}${process.env['PATH'] ?? ''}`,
      FLWR_HOME: join(directory, 'home'),
      FLWR_TELEMETRY_ENABLED: '0',
      FLWR_DISABLE_UPDATE_CHECK: '1',
    }
    mkdirSync(join(directory, 'home'))
  }

  start(program: string, args: readonly string[], cwd = this.#directory): ChildProcess {
    const log = openSync(join(this.#directory, 'log'), 'a')
    const env = this.#env
    // A group of its own: SuperLink's children do not all end with it.
    const child = spawn(pythonProgram(program), [...args], { stdio: ['pipe', log, log], env, cwd, detached: true })
    child.on('error', () => undefined)
    this.#children.push(child)
    return child
  }

  /** Runs the app, and waits for the last of its rounds. */
  async run(control: number, config: { rounds: number; floats: number; nodes: number }) {
    const app = join(this.#directory, 'app')
    const out = join(this.#directory, 'rounds')
    cpSync(APP, app, { recursive: true })
    const link = `[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "127.0.0.1:${control}"\ninsecure = true\n`
    writeFileSync(join(this.#directory, 'home', 'config.toml'), link)
    const settings = Object.entries({ ...config, out: `"${out}"` }).map(([name, value]) => `${name}=${value}`)
    const run = this.start('flwr', ['run', '.', 'bench', '-c', settings.join(' ')], app)
    for (const end = Date.now() + RUN_MS; Date.now() < end; await delay(200)) {
      const lines = existsSync(out) ? readFileSync(out, 'utf8').trimEnd().split('\n') : []
      if (lines.length >= config.rounds) return lines.map((line) => lineSchema.parse(JSON.parse(line)))
      if (run.exitCode !== null && run.exitCode !== 0) break
    }
    throw new Error(`Flower did not finish: ${readFileSync(join(this.#directory, 'log'), 'utf8').slice(-2000)}`)
  }

  async stop(): Promise<void> {
    for (const child of this.#children) endGroup(child, 'SIGTERM')
    await delay(1000)
    for (const child of this.#children) endGroup(child, 'SIGKILL')
  }
}

/** Only the group of a process that this one started. */
function endGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // All of it has ended.
  }
}

async function freePorts(): Promise<readonly [number, number, number]> {
  return [await freePort(), await freePort(), await freePort()]
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = z.object({ port: z.number() }).parse(server.address())
  server.close()
  await once(server, 'close')
  return port
}

async function reachable(port: number, owner: ChildProcess): Promise<void> {
  for (const end = Date.now() + START_MS; Date.now() < end; await delay(200)) {
    if (owner.exitCode !== null) break
    const socket = connect({ host: '127.0.0.1', port })
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return
  }
  throw new Error('SuperLink does not answer')
}

/** Lines for a terminal. */
export function flowerLines({ nodes, megabytes, flower, tapestry, ratios }: FlowerFigure): string {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(0).padStart(7)
  const row = (name: string, wall: number, peak: number, share: number) =>
    `${name.padEnd(14)}${wall.toFixed(2).padStart(8)} s a round   peak ${mb(peak)} MB (shared out ${mb(share)} MB)`
  return [
    `${nodes} x ${megabytes} MB`,
    row('Flower 1.29', flower.wallSeconds.median, flower.peakBytes, flower.peakShareBytes),
    row('Tapestry', tapestry.wallSeconds.median, tapestry.peakBytes.most, tapestry.peakShareBytes.most),
    `Flower / Tapestry: time ${ratios.wall.toFixed(2)}, memory ${ratios.peak.toFixed(1)} (shared out ${ratios.peakShare.toFixed(1)})`,
  ].join('\n')
}
