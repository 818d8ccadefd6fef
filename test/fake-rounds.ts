import { create } from '@bufbuild/protobuf'
import type { handleServerStreamingCall, ServerWritableStream } from '@grpc/grpc-js'
import type { Codec } from '../src/core/codec.ts'
import { type Digest, digestOf } from '../src/core/digest.ts'
import { TapestryError } from '../src/core/error.ts'
import { ensureRunId } from '../src/core/ids.ts'
import { DOMAINS, publicKeyFromPem, verifyMessage } from '../src/core/signature.ts'
import { ContributionService } from '../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { RoundPhase, RoundService, type WatchRoundsResponseSchema } from '../src/gen/proto/tapestry/v1/round_pb.ts'
import { type ContributionManifest, parseContributionManifest } from '../src/model/contribution-manifest.ts'
import { type EvaluationReport, parseEvaluationReport } from '../src/model/evaluation-report.ts'
import { makePlan, planBytes, planDigest } from '../src/plan/plan.ts'
import { PRESETS } from '../src/plan/presets.ts'
import type { FakeCoordinator } from './fake-coordinator.ts'
import type { FakeLog } from './fake-log.ts'
import { FakeReleases } from './fake-release.ts'

/** Small enough that its graphs are built in milliseconds. */
const SPEC = {
  ...PRESETS.tiny,
  architecture: { ...PRESETS.tiny.architecture, hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2, kvHeads: 2 },
}

type WatchStream = ServerWritableStream<unknown, unknown>

/** What a round says of itself, as a test wants it said. */
export type FakeRound = {
  number: number
  phase: RoundPhase
  base: string
  candidate: string
  checkpoint: string
  standing: string
  reason: string
  last: boolean
}

/** A coordinator's rounds for one node, moved by the test or by the node's own answers. */
export class FakeRounds {
  readonly releases: FakeReleases
  readonly plan = makePlan(SPEC)
  readonly planDigest: Digest
  readonly base: Digest
  readonly run = ensureRunId('demo')
  readonly contributions: ContributionManifest[] = []
  readonly evaluations: EvaluationReport[] = []
  /** Calls in order: `join 1`, `submit 1`, `evaluate 1`. */
  readonly calls: string[] = []
  /** PEM of the node's key; signatures are checked against it. */
  nodeKey = ''
  rounds = 1
  /** A coordinator that knows F32 alone says nothing. */
  codec: Codec | undefined
  /** Records contributions and answers with receipts, if there is one. */
  log: FakeLog | undefined
  refuse: { reason: string; detail: string } | undefined
  /** Runs after a call was taken in, before it is answered. */
  afterCall: (call: string) => void = () => undefined
  /** Whether rounds move on by themselves when the node has done its part. */
  automatic = true
  current: FakeRound
  #version = 0
  readonly #watchers = new Set<WatchStream>()
  readonly #fake: FakeCoordinator

  constructor(fake: FakeCoordinator) {
    this.#fake = fake
    this.releases = new FakeReleases(fake)
    this.planDigest = planDigest(this.plan)
    this.releases.plans.set(this.planDigest, planBytes(this.plan))
    this.base = this.releases.publish(0, { 'model.safetensors': Buffer.from('base weights') })
    this.current = this.#open(1)
    this.#serve()
  }

  /** Changes the present round and tells every watcher. */
  move(changes: Partial<FakeRound>): void {
    this.current = { ...this.current, ...changes }
    this.#version++
    for (const watcher of this.#watchers) watcher.write(this.#message())
  }

  /** Opens the next round. */
  next(): void {
    this.move(this.#open(this.current.number + 1))
  }

  evaluating(): void {
    const candidate = this.#fake.put(Buffer.from(`candidate ${this.current.number}`))
    this.move({ phase: RoundPhase.EVALUATING, candidate })
  }

  /** A message that is not a round. */
  sendNonsense(): void {
    const message = { round: { phase: 99 }, standing: 'royal' }
    for (const watcher of this.#watchers) watcher.write(create(RoundService.method.watchRounds.output, message))
  }

  #open(number: number): FakeRound {
    return {
      number,
      phase: RoundPhase.OPEN,
      base: this.base,
      candidate: '',
      checkpoint: '',
      standing: 'none',
      reason: '',
      last: number >= this.rounds,
    }
  }

  #message() {
    const { standing } = this.current
    return create(RoundService.method.watchRounds.output, { round: this.#round(), standing })
  }

  #round() {
    const { number, phase, base, candidate, checkpoint, reason, last } = this.current
    return {
      ref: { run: this.run, number },
      phase,
      version: BigInt(this.#version),
      baseDigest: base,
      planDigest: this.planDigest,
      candidateDigest: candidate,
      checkpointDigest: checkpoint,
      reason,
      last,
      ...(this.codec && { codec: { name: this.codec.name, parameters: { ...this.codec.parameters } } }),
    }
  }

  #serve(): void {
    const watchRounds: handleServerStreamingCall<unknown, typeof WatchRoundsResponseSchema> = (call) => {
      this.#watchers.add(call)
      call.on('cancelled', () => this.#watchers.delete(call))
      call.on('close', () => this.#watchers.delete(call))
      call.write(this.#message() as never)
    }
    this.#fake.unary(
      RoundService,
      { joinRound: ({ ref }) => this.#join(ref?.number), getRound: ({ ref }) => this.#getRound(ref?.number) },
      { watchRounds },
    )
    this.#fake.unary(ContributionService, {
      submitContribution: ({ manifest, signature }) => {
        this.#verify(DOMAINS.contribution, manifest, signature)
        return this.#submit(manifest)
      },
      submitEvaluation: ({ report, signature }) => {
        this.#verify(DOMAINS.evaluation, report, signature)
        return this.#evaluate(report)
      },
    })
  }

  #getRound(number: number | undefined) {
    const accepted = this.contributions.filter(({ round }) => round === number)
    const contributions = accepted.map(({ node, payloadDigest }) => ({ node, status: 'accepted', payloadDigest }))
    return { round: this.#round(), contributions }
  }

  #join(number: number | undefined) {
    this.#called(`join ${number}`)
    if (this.current.phase !== RoundPhase.OPEN) throw new TapestryError('FAILED_PRECONDITION', 'the roster is frozen')
    if (this.automatic) this.move({ phase: RoundPhase.COLLECTING, standing: 'joined' })
    else this.current.standing = 'joined'
    return { round: this.#round() }
  }

  async #submit(bytes: Uint8Array) {
    const parsed = parseContributionManifest(bytes)
    if (!parsed.ok) return { rejection: parsed.rejection }
    const manifest = parsed.value
    this.#called(`submit ${manifest.round}`)
    if (this.refuse !== undefined) return { contribution: digestOf(bytes), rejection: this.refuse }
    if (!this.#fake.blobs.has(manifest.payloadDigest)) return { rejection: { reason: 'TRUNCATED', detail: 'missing' } }
    this.contributions.push(manifest)
    this.current.standing = 'accepted'
    if (this.automatic) this.evaluating()
    return { contribution: digestOf(bytes), ...(await this.#record(bytes, manifest)) }
  }

  async #record(bytes: Uint8Array, manifest: ContributionManifest) {
    if (this.log === undefined) return {}
    const { node, run, round, baseDigest, payloadDigest, payloadBytes } = manifest
    const what = { base: baseDigest, payload: payloadDigest, bytes: payloadBytes }
    this.log.append({ type: 'contribution', contribution: digestOf(bytes), node, run, round, ...what })
    return { receipt: await this.log.receipt() }
  }

  #evaluate(bytes: Uint8Array) {
    const parsed = parseEvaluationReport(bytes)
    if (!parsed.ok) return { rejection: parsed.rejection }
    this.#called(`evaluate ${parsed.value.round}`)
    this.evaluations.push(parsed.value)
    this.current.standing = 'evaluated'
    if (this.automatic) this.#publish()
    return {}
  }

  #publish(): void {
    const { number } = this.current
    const weights = Buffer.from(`candidate ${number}`)
    const checkpoint = this.releases.publish(number, { 'model.safetensors': weights })
    this.move({ phase: RoundPhase.PUBLISHED, checkpoint })
    if (number < this.rounds) this.move({ ...this.#open(number + 1), base: checkpoint })
  }

  #called(call: string): void {
    this.calls.push(call)
    this.afterCall(call)
  }

  #verify(
    domain: typeof DOMAINS.contribution | typeof DOMAINS.evaluation,
    bytes: Uint8Array,
    signature: { keyId: string; value: Uint8Array } | undefined,
  ): void {
    const value = Buffer.from(signature?.value ?? []).toString('base64')
    if (!verifyMessage(publicKeyFromPem(this.nodeKey), domain, bytes, { keyId: signature?.keyId ?? '', value })) {
      throw new TapestryError('UNAUTHENTICATED', 'a bad signature')
    }
  }
}
