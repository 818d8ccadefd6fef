import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { z } from 'zod'
import { createAuthority, issueServerCertificate } from '../src/identity/certificate-authority.ts'
import { BenchChild } from './child.ts'
import { REPETITIONS, type Spread, secondsOf, spreadOf } from './statistics.ts'

/** What this machine can do at best, in GB (10^9 bytes) a second; each in this process on one thread. */
export type Limits = {
  readonly memcpy: Spread
  /** Loopback from another process, received into one buffer that is used again. */
  readonly tcp: Spread
  /** The same under TLS 1.3. */
  readonly tls: Spread
  /** Writing a new file and fsync. */
  readonly diskWrite: Spread
  readonly sha256: Spread
}

type Measure = () => Promise<number>

const FULL_BYTES = 256 * 2 ** 20
const QUICK_BYTES = 2 * 2 ** 20
const BLOCK_BYTES = 2 ** 20
const listeningSchema = z.object({ type: z.literal('listening'), port: z.number() })

/** Measures the limits, repetitions interleaved. @param directory on the disk that is to be measured. */
export async function measureLimits(options: { readonly quick?: boolean; readonly directory: string }) {
  const bytes = options.quick ? QUICK_BYTES : FULL_BYTES
  const certificate = await ownCertificate()
  const measures: Readonly<Record<keyof Limits, Measure>> = {
    memcpy: copying(bytes),
    tcp: () => receiving(bytes),
    tls: () => receiving(bytes, certificate),
    diskWrite: () => writing(join(options.directory, 'limit'), bytes),
    sha256: () => hashing(bytes),
  }
  const samples: Record<keyof Limits, number[]> = { memcpy: [], tcp: [], tls: [], diskWrite: [], sha256: [] }
  for (let round = options.quick ? 0 : -1; round < (options.quick ? 1 : REPETITIONS); round += 1) {
    for (const name of ['memcpy', 'tcp', 'tls', 'diskWrite', 'sha256'] as const) {
      const seconds = await measures[name]()
      // Round -1 warms up.
      if (round >= 0) samples[name].push(bytes / seconds / 1e9)
    }
  }
  const limits: Limits = {
    memcpy: spreadOf(samples.memcpy),
    tcp: spreadOf(samples.tcp),
    tls: spreadOf(samples.tls),
    diskWrite: spreadOf(samples.diskWrite),
    sha256: spreadOf(samples.sha256),
  }
  return limits
}

function copying(bytes: number): Measure {
  const source = Buffer.alloc(bytes, 1)
  const target = Buffer.alloc(bytes, 2)
  return () => secondsOf(() => target.set(source))
}

function hashing(bytes: number): Promise<number> {
  const block = Buffer.alloc(BLOCK_BYTES, 3)
  return secondsOf(() => {
    const hash = createHash('sha256')
    for (let at = 0; at < bytes; at += BLOCK_BYTES) hash.update(block)
    hash.digest()
  })
}

async function writing(path: string, bytes: number): Promise<number> {
  const block = Buffer.alloc(BLOCK_BYTES, 4)
  try {
    return await secondsOf(() => {
      const file = openSync(path, 'w')
      for (let at = 0; at < bytes; at += BLOCK_BYTES) writeSync(file, block)
      fsyncSync(file)
      closeSync(file)
    })
  } finally {
    rmSync(path, { force: true })
  }
}

type Certificate = { readonly key: string; readonly cert: string }

/** As the coordinator's own: the cipher and the key decide the cost. */
async function ownCertificate(): Promise<Certificate> {
  const authority = await createAuthority('limits', Date.now())
  const { key, certificate } = await issueServerCertificate(authority, ['127.0.0.1'], Date.now())
  return { key, cert: certificate }
}

/** Seconds from the word to send to the last byte that another process sent. */
async function receiving(bytes: number, certificate?: Certificate): Promise<number> {
  const sender = new BenchChild('stream-end.ts', [JSON.stringify({ bytes, certificate })], listeningSchema)
  try {
    const { port } = await sender.next()
    return await receive(port, bytes, certificate !== undefined, () => sender.send({ type: 'go' }))
  } finally {
    await sender.stop()
  }
}

async function receive(port: number, bytes: number, tls: boolean, go: () => void): Promise<number> {
  const buffer = Buffer.alloc(BLOCK_BYTES)
  const where = { host: '127.0.0.1', port }
  let left = bytes
  let finished = () => undefined
  const received = new Promise<void>((resolve) => {
    finished = () => void resolve()
  })
  const count = (length: number) => {
    left -= length
    if (left <= 0) finished()
    return true
  }
  // The certificate was made a moment ago, for this one connection of this machine to itself.
  const receiving = { ...where, onread: { buffer, callback: count } }
  // Not among the options that tls.connect is typed with; it hands them to its net.Socket.
  const secure = { ...receiving, rejectUnauthorized: false, minVersion: 'TLSv1.3' } as const
  const socket = tls ? connectTls(secure) : connect(receiving)
  await once(socket, tls ? 'secureConnect' : 'connect')
  const seconds = await secondsOf(() => {
    go()
    return received
  })
  socket.destroy()
  return seconds
}
