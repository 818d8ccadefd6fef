// Upload and download over a long way:
// `npx tsx bench/transfer.ts [--quick] [--megabytes N] [--round-trip MS] [--repetitions N] [--json]`
import { createHash, randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { connectOperator } from '../src/cli/operator-client.ts'
import { systemClock } from '../src/core/clock.ts'
import { fromHex } from '../src/core/digest.ts'
import { ensureAddress } from '../src/participant/address.ts'
import { type Channel, openChannel } from '../src/participant/channel.ts'
import { downloadArtifact } from '../src/participant/download.ts'
import { joinFederation } from '../src/participant/enrolment.ts'
import { createNodeDirectory, type NodeDirectory, requireKey } from '../src/participant/node-directory.ts'
import { parseTlsPem } from '../src/participant/tls-credential.ts'
import { uploadArtifact } from '../src/participant/upload.ts'
import { BenchChild } from './child.ts'
import { Coordinator } from './coordinator.ts'
import { type Direction, type GrpcioServer, startGrpcio } from './grpcio.ts'
import { type Limits, measureLimits } from './limits.ts'
import { isInstalled } from './python.ts'
import { REPETITIONS, type Spread, secondsOf, spreadOf } from './statistics.ts'
import type { DeltaFile } from './workload.ts'
import { withWorkspace } from './workspace.ts'

/** MB (10^6 bytes) a second, connecting and checking included. */
export type TransferRow = {
  readonly direction: Direction
  readonly roundTripMs: number
  readonly tapestry: Spread
  /** Undefined where the peers are not installed. */
  readonly grpcio: Spread | undefined
  readonly grpcioTls: Spread | undefined
}

export type TransferFigure = { readonly bytes: number; readonly rows: readonly TransferRow[]; readonly limits: Limits }

const ROUND_TRIPS_MS = [0, 50, 150]
const FULL_BYTES = 256e6
const QUICK_BYTES = 1e6

const listeningSchema = z.object({ type: z.literal('listening'), port: z.number() })

/** How one side moves bytes through a port. @returns seconds. */
type Mover = (direction: Direction, port: number) => Promise<number>
type Peer = { readonly name: 'tapestry' | 'grpcio' | 'grpcioTls'; readonly port: number; readonly move: Mover }

export type TransferOptions = {
  readonly quick?: boolean
  readonly peers?: boolean
  readonly bytes?: number
  readonly roundTripsMs?: readonly number[]
  readonly repetitions?: number
}

/** Measures every direction and distance; the repetitions of all peers are interleaved. */
export function measureTransfer(options: TransferOptions = {}): Promise<TransferFigure> {
  const { quick = false, peers = isInstalled() } = options
  const { bytes = quick ? QUICK_BYTES : FULL_BYTES, roundTripsMs = quick ? [0, 20] : ROUND_TRIPS_MS } = options
  const { repetitions = quick ? 1 : REPETITIONS } = options
  return withWorkspace('transfer', async (directory) => {
    const limits = await measureLimits({ quick, directory })
    const home = join(directory, 'coordinator')
    await Coordinator.init(home)
    const coordinator = await Coordinator.serve(home)
    const servers = peers
      ? [await startGrpcio(directory, { tls: false }), await startGrpcio(directory, { tls: true })]
      : []
    try {
      const all = [await tapestryPeer(directory, coordinator, bytes), ...grpcioPeers(servers, bytes)]
      const rows: TransferRow[] = []
      for (const roundTripMs of roundTripsMs) {
        rows.push(...(await measureDistance(all, roundTripMs, bytes, repetitions)))
      }
      return { bytes, rows, limits }
    } finally {
      for (const server of servers) server.stop()
      await coordinator.stop()
    }
  })
}

function grpcioPeers([plain, tls]: readonly GrpcioServer[], bytes: number): Peer[] {
  if (plain === undefined || tls === undefined) return []
  return [
    { name: 'grpcio', port: plain.port, move: (direction, port) => plain.move(direction, port, bytes) },
    { name: 'grpcioTls', port: tls.port, move: (direction, port) => tls.move(direction, port, bytes) },
  ]
}

/**
 * A node that uploads a new file each time, and an operator that downloads the last one: what is uploaded and not yet
 * part of a round is visible to operators alone.
 */
async function tapestryPeer(directory: string, coordinator: Coordinator, bytes: number): Promise<Peer> {
  const [invitation = ''] = await coordinator.invite(1)
  const node = await createNodeDirectory(join(directory, 'node'), { name: 'node', sources: [] })
  await joinFederation(node, invitation, systemClock)
  let serial = 0
  let last: DeltaFile | undefined
  const move: Mover = async (direction, port) => {
    if (direction === 'upload' || last === undefined) {
      last = await writeNoise(join(directory, 'upload'), bytes)
      if (direction === 'download') await moveOnce(await nodeChannel(node, coordinator.address), send, last)
    }
    const target = join(directory, `download-${serial++}`)
    const address = `127.0.0.1:${port}`
    if (direction === 'upload') return moveOnce(await nodeChannel(node, address), send, last)
    const operator = await connectOperator({ dir: coordinator.directory, address }, {})
    return moveOnce(operator, (channel, file) => downloadArtifact(channel, file, target), last)
  }
  return { name: 'tapestry', port: ensureAddress(coordinator.address).port, move }
}

type Work = (channel: Channel, file: DeltaFile) => Promise<unknown>

const send: Work = (channel, file) => uploadArtifact(channel, file, file.path)

async function nodeChannel(node: NodeDirectory, address: string): Promise<Channel> {
  const authority = await requireKey(node, 'ca.crt')
  const identity = parseTlsPem(await requireKey(node, 'tls.pem'))
  return openChannel(ensureAddress(address), authority, identity)
}

/** Over a connection of its own, as after hours of training. Closes it. */
async function moveOnce(channel: Channel, work: Work, file: DeltaFile): Promise<number> {
  try {
    return await secondsOf(() => work(channel, file))
  } finally {
    channel.close()
  }
}

async function writeNoise(path: string, size: number): Promise<DeltaFile> {
  const hash = createHash('sha256')
  const block = randomBytes(2 ** 20)
  const file = await open(path, 'w')
  try {
    for (let at = 0; at < size; at += block.length) {
      const piece = block.subarray(0, Math.min(block.length, size - at))
      hash.update(piece)
      await file.writeFile(piece)
    }
  } finally {
    await file.close()
  }
  return { path, digest: fromHex(hash.digest('hex')), size }
}

async function measureDistance(
  peers: readonly Peer[],
  roundTripMs: number,
  bytes: number,
  repetitions: number,
): Promise<TransferRow[]> {
  const ways = await Promise.all(peers.map((peer) => wayTo(peer.port, roundTripMs)))
  const rows: TransferRow[] = []
  try {
    for (const direction of ['upload', 'download'] as const) {
      const rates = new Map<Peer['name'], number[]>(peers.map(({ name }) => [name, []]))
      for (let i = 0; i < repetitions; i += 1) {
        for (const [at, { name, move }] of peers.entries()) {
          rates.get(name)?.push(bytes / (await move(direction, ways[at]?.port ?? 0)) / 1e6)
        }
      }
      const of = (name: Peer['name']) => (rates.has(name) ? spreadOf(rates.get(name) ?? []) : undefined)
      rows.push({
        direction,
        roundTripMs,
        tapestry: spreadOf(rates.get('tapestry') ?? []),
        grpcio: of('grpcio'),
        grpcioTls: of('grpcioTls'),
      })
    }
    return rows
  } finally {
    await Promise.all(ways.map((way) => way.stop()))
  }
}

/** A port that is so far from another one; the port itself where the distance is none. */
async function wayTo(port: number, roundTripMs: number): Promise<{ readonly port: number; stop(): Promise<void> }> {
  if (roundTripMs === 0) return { port, stop: async () => undefined }
  const task = JSON.stringify({ port, delayMs: roundTripMs / 2 })
  const proxy = new BenchChild('delay-proxy.ts', [task], listeningSchema)
  const { port: near } = await proxy.next()
  return { port: near, stop: () => proxy.stop() }
}

/** One line for a terminal. */
export function transferLine({ direction, roundTripMs, tapestry, grpcio, grpcioTls }: TransferRow): string {
  const rate = (spread: Spread | undefined) => (spread === undefined ? '-' : spread.median.toFixed(0)).padStart(6)
  const way = `${direction.padEnd(9)}${String(roundTripMs).padStart(4)} ms`
  return `${way}  tapestry ${rate(tapestry)} MB/s  grpcio ${rate(grpcio)}  grpcio with TLS ${rate(grpcioTls)}`
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      megabytes: { type: 'string' },
      repetitions: { type: 'string' },
      'round-trip': { type: 'string' },
    },
  })
  const { megabytes, repetitions, 'round-trip': roundTrip } = values
  const figure = await measureTransfer({
    quick: values.quick,
    ...(megabytes !== undefined && { bytes: Number(megabytes) * 1e6 }),
    ...(repetitions !== undefined && { repetitions: Number(repetitions) }),
    ...(roundTrip !== undefined && { roundTripsMs: [Number(roundTrip)] }),
  })
  const text = values.json ? JSON.stringify(figure) : figure.rows.map(transferLine).join('\n')
  process.stdout.write(`${text}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
