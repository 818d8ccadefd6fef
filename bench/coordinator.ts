import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { coordinatorPaths } from '../src/cli/coordinator-directory.ts'
import { Child } from '../src/cli/demo/child-process.ts'
import { databasePid, stopLeftDatabase } from '../src/cli/demo/embedded-database.ts'
import { connectOperator } from '../src/cli/operator-client.ts'
import { canonicalBytes } from '../src/core/canonical-json.ts'
import type { Digest } from '../src/core/digest.ts'
import { OperatorService } from '../src/gen/proto/tapestry/v1/operator_pb.ts'
import type { Channel } from '../src/participant/channel.ts'
import type { PlanSpec } from '../src/plan/spec.ts'
import { openBlobs } from '../src/store/blobs.ts'

const SERVING = z.looseObject({ address: z.string() })
/** Drawing the initial weights of a large model takes the coordinator a while. */
const CREATE_RUN_MS = 600_000
const HOUR_MS = 3_600_000n
/** Nobody evaluates here: the round ends soon after its candidate was written, and the base stays. */
const EVALUATE_MS = 500n

export const RUN = 'bench'

/** A coordinator as an operator starts it: `tapestry coordinator init`, then `serve`, with its worker and database. */
export class Coordinator {
  readonly directory: string
  readonly address: string
  readonly #child: Child

  private constructor(directory: string, address: string, child: Child) {
    this.directory = directory
    this.address = address
    this.#child = child
  }

  /** Makes a federation in `directory`, which must not exist. */
  static async init(directory: string): Promise<void> {
    const child = await spawnTapestry(directory, 'init', ['coordinator', 'init', '--name', 'Benchmark'])
    const { code } = await child.exited
    if (code !== 0) throw await child.failure()
  }

  /** Serves it on a free port of this machine. @param env what its processes find in their environment besides. */
  static async serve(directory: string, env: Readonly<Record<string, string>> = {}): Promise<Coordinator> {
    let child: Child | undefined
    const line = await new Promise<string>((resolve, reject) => {
      const args = ['coordinator', 'serve', '--host', '127.0.0.1', '--port', '0', '--json']
      spawnTapestry(directory, 'serve', args, { onLine: resolve, env }).then((started) => {
        child = started
        started.exited.then(async () => reject(await started.failure()))
      }, reject)
    })
    if (child === undefined) throw new Error('the coordinator was not started')
    return new Coordinator(directory, SERVING.parse(JSON.parse(line)).address, child)
  }

  /** The process that serves. */
  get pid(): number {
    return this.#child.pid
  }

  /** The processes to measure: the server with its workers, and the database, which is in nobody's process tree. */
  roots(): { coordinator: number; database?: number } {
    const database = databasePid(this.directory)
    return { coordinator: this.#child.pid, ...(database === undefined ? {} : { database }) }
  }

  operator(): Promise<Channel> {
    return connectOperator({ dir: this.directory }, {})
  }

  /** Invitations, one a node, each for a member of its own. */
  async invite(nodes: number): Promise<string[]> {
    return this.#operate(async (channel) => {
      const invitations: string[] = []
      for (let node = 0; node < nodes; node += 1) {
        const request = { member: `member-${node}`, validSeconds: 0 }
        invitations.push((await channel.call(OperatorService.method.createInvitation, request)).invitation)
      }
      return invitations
    })
  }

  /** Creates the run whose rounds all of `nodes` take part in. */
  createRun(spec: PlanSpec, nodes: number, { evaluateWindowMs = EVALUATE_MS } = {}): Promise<unknown> {
    const policy = {
      target: nodes,
      quorum: nodes,
      rounds: 1000,
      joinWindowMs: HOUR_MS,
      collectWindowMs: HOUR_MS,
      evaluateWindowMs,
      continuous: false,
      maxNorm: 0,
      demands: { withoutRecords: true },
    }
    const request = { run: RUN, plan: canonicalBytes(spec), policy, channel: '' }
    return this.#operate((channel) =>
      channel.call(OperatorService.method.createRun, request, { deadlineMs: CREATE_RUN_MS }),
    )
  }

  /** Deletes blobs of rounds that are over, so that many repetitions fit on the disk. */
  async forget(digests: readonly Digest[]): Promise<void> {
    const blobs = await openBlobs(coordinatorPaths(this.directory).blobs)
    for (const digest of digests) await blobs.remove(digest)
  }

  async stop(): Promise<void> {
    await this.#child.stop()
    stopLeftDatabase(this.directory)
  }

  async #operate<T>(use: (channel: Channel) => Promise<T>): Promise<T> {
    const channel = await this.operator()
    try {
      return await use(channel)
    } finally {
      channel.close()
    }
  }
}

/** Settings of whoever runs the benchmark must not change what is measured. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const foreign = /^(TAPESTRY_|DATABASE_URL$|REDIS_URL$|PG[A-Z]+$|NODE_OPTIONS$|VITEST)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
}

async function spawnTapestry(
  directory: string,
  name: string,
  args: readonly string[],
  { env = {}, ...options }: { readonly env?: Readonly<Record<string, string>>; onLine?(line: string): void } = {},
) {
  await mkdir(join(directory, '..'), { recursive: true })
  return new Child({
    name,
    args: [...args, '--dir', directory],
    log: join(directory, '..', `${name}.log`),
    env: { ...ownEnvironment(), ...env },
    ...options,
  })
}
