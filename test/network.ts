import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { initCoordinator } from '../src/cli/coordinator-directory.ts'
import { type CoordinatorOptions, type CoordinatorParts, openCoordinator } from '../src/cli/coordinator-parts.ts'
import { connectOperator } from '../src/cli/operator-client.ts'
import { type RunningCoordinator, startCoordinator } from '../src/cli/start-coordinator.ts'
import { type RunningWorker, startWorkerProcess } from '../src/cli/start-worker.ts'
import { canonicalBytes } from '../src/core/canonical-json.ts'
import type { Clock, Millis } from '../src/core/clock.ts'
import { F32 } from '../src/core/codec.ts'
import { DEFAULT_DEMANDS } from '../src/core/demands.ts'
import { ensureRunId, type FederationId, type RoundKey, type RunId } from '../src/core/ids.ts'
import { DEFAULT_INFLUENCE } from '../src/core/influence-choice.ts'
import type { ReleaseGate } from '../src/core/release-gate.ts'
import { MEAN } from '../src/core/strategy.ts'
import { OperatorService } from '../src/gen/proto/tapestry/v1/operator_pb.ts'
import { type GetRoundResponse, RoundPhase, RoundService } from '../src/gen/proto/tapestry/v1/round_pb.ts'
import type { TensorSpec } from '../src/model/tensor.ts'
import { VOCABULARY_SIZE } from '../src/model/tokenizer.ts'
import { ensureAddress } from '../src/participant/address.ts'
import { type Channel, type ClientIdentity, openChannel } from '../src/participant/channel.ts'
import { openNodeClient } from '../src/participant/client.ts'
import { addDataset } from '../src/participant/datasets.ts'
import { joinFederation } from '../src/participant/enrolment.ts'
import { createNodeDirectory, type NodeDirectory } from '../src/participant/node-directory.ts'
import { parameterSpecs } from '../src/plan/parameters.ts'
import { PLAN_FORMAT, type PlanSpec } from '../src/plan/spec.ts'
import { DEFAULT_RUN_POLICY, type RunPolicy } from '../src/round/policy.ts'
import { policyMessage } from '../src/rpc/run-policy.ts'
import type { Store } from '../src/store/store.ts'
import { datasetTerms } from './dataset-records.ts'
import { type Place, TestNode } from './e2e/test-node.ts'
import { TEXT_LANGUAGES, writeTexts } from './e2e/texts.ts'
import { until } from './e2e/waiting.ts'
import { testDatabase } from './postgres.ts'

/** The smallest model that is still a Llama: 4,960 parameters, a round within seconds. */
export const MICRO_SPEC: PlanSpec = {
  format: PLAN_FORMAT,
  architecture: {
    kind: 'llama',
    vocabSize: VOCABULARY_SIZE,
    hiddenSize: 8,
    intermediateSize: 16,
    layers: 1,
    heads: 2,
    kvHeads: 2,
    contextLength: 32,
    normEpsilon: 1e-5,
    ropeTheta: 10_000,
    tiedEmbeddings: true,
  },
  training: {
    batchSize: 2,
    sequenceLength: 32,
    localSteps: 6,
    vocabulary: 'all',
    optimizer: {
      kind: 'adamw',
      learningRate: 0.01,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0.1,
      warmupSteps: 1,
      clipNorm: 1,
    },
  },
  evaluation: { heldOutFraction: 0.2, maxSequences: 8 },
  tokenizer: 'bytes/1',
  seed: 1,
}

/** Long enough for a busy machine: a test that wants a window to end moves the clock. */
export const WINDOW_MS = 240_000

/** Real time plus what a test has added. A few minutes at most: certificates made later must be valid now. */
export class TestClock implements Clock {
  #ahead: Millis = 0

  now(): Millis {
    return Date.now() + this.#ahead
  }

  advance(ms: Millis): void {
    this.#ahead += ms
  }
}

export type NetworkOptions = {
  /** Nodes that have joined when `create` returns. */
  readonly participants?: number
  readonly policy?: Partial<RunPolicy>
  readonly spec?: PlanSpec
  /** Settings of the coordinator, as on its command line. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** Where the coordinator's log goes; nowhere when absent. */
  readonly log?: CoordinatorOptions['log']
}

/**
 * A federation in this process: a coordinator with its worker on a real database and real TLS, an operator, and nodes
 * with directories of their own. `close` leaves nothing behind, whatever happened.
 */
export class TestNetwork {
  readonly root: string
  readonly clock = new TestClock()
  readonly run: RunId = ensureRunId('run')
  readonly nodes: TestNode[] = []
  readonly #options: NetworkOptions
  readonly #undo: (() => unknown)[] = []
  /** Ends what serves, last first. */
  readonly #serving: ((graceMs: Millis) => unknown)[] = []
  #parts: CoordinatorParts | undefined
  #worker: RunningWorker | undefined
  #coordinator: RunningCoordinator | undefined
  #operator: Channel | undefined

  private constructor(root: string, options: NetworkOptions) {
    this.root = root
    this.#options = options
  }

  /** Starts everything; the run is created, no round is started. */
  static async create(options: NetworkOptions = {}): Promise<TestNetwork> {
    const network = new TestNetwork(await mkdtemp(join(tmpdir(), 'tapestry-network-')), options)
    try {
      await network.#start()
      return network
    } catch (error) {
      await network.close()
      throw error
    }
  }

  async #start(): Promise<void> {
    this.#undo.push(() => rm(this.root, { recursive: true, force: true }))
    await initCoordinator({ dir: this.directory, name: 'Test', settings: {}, now: this.clock.now() })
    const database = await testDatabase()
    this.#undo.push(() => database.drop())
    this.#undo.push(() => this.#stopServing(1000))
    await this.#serve(this.#coordinatorOptions(this.directory, database.url, 0))
    const participants = this.#options.participants ?? 0
    for (let index = 0; index < participants; index++) await this.addNode(`node-${index + 1}`)
    await this.createRun(this.run)
  }

  /** A coordinator with its worker, a way to its database, and an operator. */
  async #serve(start: CoordinatorOptions): Promise<void> {
    const coordinator = await startCoordinator(start)
    this.#serving.push((graceMs) => coordinator.stop(graceMs))
    this.#coordinator = coordinator
    const worker = await startWorkerProcess(start, { watched: '127.0.0.1:0' })
    this.#serving.push(() => worker.stop())
    this.#worker = worker
    const parts = await openCoordinator(start)
    this.#serving.push(() => parts.context.store.close())
    this.#parts = parts
    const operator = await connectOperator({ dir: start.dir }, {})
    this.#serving.push(() => operator.close())
    this.#operator = operator
  }

  async #stopServing(graceMs: Millis): Promise<void> {
    for (let stop = this.#serving.pop(); stop !== undefined; stop = this.#serving.pop()) await stop(graceMs)
  }

  /** Ends the coordinator in order, and starts another at the same address from this directory and database. */
  async moveTo(
    directory = this.directory,
    databaseUrl = this.parts.databaseUrl,
    graceMs: Millis = 1000,
  ): Promise<void> {
    const { port } = ensureAddress(this.address)
    await this.#stopServing(graceMs)
    await this.#serve(this.#coordinatorOptions(directory, databaseUrl, port))
  }

  /** Ends the worker in order: from now on the test brings processes of its own. */
  async stopWorker(): Promise<void> {
    await this.#worker?.stop()
  }

  #coordinatorOptions(dir: string, databaseUrl: string, port: number): CoordinatorOptions {
    return {
      dir,
      flags: { port, workers: 0, logLevel: 'silent', ...this.#options.settings },
      env: { DATABASE_URL: databaseUrl },
      clock: this.clock,
      log: this.#options.log ?? pino({ level: process.env['TAPESTRY_TEST_LOG'] ?? 'silent' }),
    }
  }

  /** The coordinator's directory. */
  get directory(): string {
    return join(this.root, 'coordinator')
  }

  get parts(): CoordinatorParts {
    return started(this.#parts)
  }

  /** A connection of the test's own to the coordinator's database. */
  get store(): Store {
    return this.parts.context.store
  }

  get address(): string {
    return started(this.#coordinator).address
  }

  get federation(): FederationId {
    return started(this.#coordinator).federation
  }

  /** Where the coordinator shows its numbers and its health. */
  get metrics(): string {
    return `http://${started(this.#coordinator).metrics}`
  }

  /** Where its worker does. */
  get workerMetrics(): string {
    return `http://${started(this.#worker).metrics}`
  }

  get operator(): Channel {
    return started(this.#operator)
  }

  /** The tensors of the run's model. */
  get tensors(): readonly TensorSpec[] {
    return parameterSpecs(this.#options.spec ?? MICRO_SPEC)
  }

  /** A channel with any identity, or none; closed with the network. */
  channel(identity?: ClientIdentity): Channel {
    const { certificate } = this.parts.secrets.authority
    const channel = openChannel(ensureAddress(this.address), certificate, identity)
    this.#undo.push(() => channel.close())
    return channel
  }

  async invite(member: string, validSeconds = 0): Promise<string> {
    const { createInvitation } = OperatorService.method
    return (await this.operator.call(createInvitation, { member, validSeconds })).invitation
  }

  /** A node's directory with text, which has joined nothing yet. */
  async nodeDirectory(
    name: string,
    languages: readonly string[] = [languageFor(this.nodes.length)],
    community = '',
  ): Promise<NodeDirectory> {
    const sources = await writeTexts(join(this.root, 'texts', name), name, languages, community)
    const directory = await createNodeDirectory(join(this.root, 'nodes', name), { name, sources })
    await addDataset(directory, datasetTerms({ languages: sources.map(({ language }) => language) }), sources)
    return directory
  }

  /** A node that has joined. */
  async addNode(name: string, languages?: readonly string[], community?: string): Promise<TestNode> {
    const directory = await this.nodeDirectory(name, languages, community)
    await joinFederation(directory, await this.invite(`member-of-${name}`), this.clock)
    const node = await TestNode.open(directory, await openNodeClient(directory, this.clock), this.clock)
    this.#undo.push(() => node.close())
    this.nodes.push(node)
    return node
  }

  async createRun(
    run: string,
    policy: Partial<RunPolicy> = {},
    spec = this.#options.spec,
    channel = '',
  ): Promise<RunId> {
    const whole = { ...usualPolicy(this.#options.participants ?? 0), ...this.#options.policy, ...policy }
    await this.operator.call(OperatorService.method.createRun, {
      ...{ run, plan: canonicalBytes(spec ?? MICRO_SPEC), channel },
      policy: policyMessage(whole),
    })
    return ensureRunId(run)
  }

  async startRound(run: RunId = this.run): Promise<Place> {
    const { round } = await this.operator.call(OperatorService.method.startRound, { run })
    return { key: { run, number: round?.ref?.number ?? 0 }, base: round?.baseDigest ?? '' }
  }

  async round(key: RoundKey): Promise<GetRoundResponse> {
    return this.operator.call(RoundService.method.getRound, { ref: key })
  }

  /** Waits until a round is in one of the phases, or has ended. */
  async roundIn(key: RoundKey, ...phases: readonly RoundPhase[]): Promise<GetRoundResponse> {
    return until(`round ${key.run}/${key.number} is in phase ${phases.map((phase) => RoundPhase[phase])}`, async () => {
      const response = await this.round(key)
      const phase = response.round?.phase ?? RoundPhase.UNSPECIFIED
      return phases.includes(phase) || ENDED.has(phase) ? response : undefined
    })
  }

  /** Waits until a round has ended. */
  roundEnded(key: RoundKey): Promise<GetRoundResponse> {
    return this.roundIn(key)
  }

  /** Ends everything, in the reverse order of its making; the first failure is told when all is done. */
  async close(): Promise<void> {
    const failures: unknown[] = []
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}

const ENDED: ReadonlySet<RoundPhase> = new Set([RoundPhase.PUBLISHED, RoundPhase.REJECTED, RoundPhase.FAILED])

/** The test texts are a few lines. */
const SMALL_GATE: ReleaseGate = { evidence: 'paired', minTokens: 1 }

/** Everybody takes part, and has to. */
export function usualPolicy(participants: number): RunPolicy {
  const target = Math.max(1, participants)
  const windows = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }
  return {
    target,
    quorum: target,
    ...windows,
    rounds: 1000,
    continuous: false,
    maxNorm: 0,
    strategy: MEAN,
    influence: DEFAULT_INFLUENCE,
    gate: SMALL_GATE,
    demands: DEFAULT_DEMANDS,
    codec: F32,
    shardBytes: DEFAULT_RUN_POLICY.shardBytes,
  }
}

function languageFor(index: number): string {
  return TEXT_LANGUAGES[index % TEXT_LANGUAGES.length] ?? 'en'
}

function started<T>(part: T | undefined): T {
  if (part === undefined) throw new Error('the network has not started')
  return part
}
