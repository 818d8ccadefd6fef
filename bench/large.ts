// One contribution that is far larger than the coordinator's heap, from the first byte sent to the checkpoint published.
// `npx tsx bench/large.ts [--quick] [--megabytes M]`
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/core/clock.ts'
import { ensureDigest } from '../src/core/digest.ts'
import { ContributionService } from '../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { ModelService } from '../src/gen/proto/tapestry/v1/model_pb.ts'
import { OperatorService } from '../src/gen/proto/tapestry/v1/operator_pb.ts'
import { type Round, RoundPhase, RoundService } from '../src/gen/proto/tapestry/v1/round_pb.ts'
import { parseManifest } from '../src/model/manifest.ts'
import { weightFilesAmong } from '../src/model/weight-index.ts'
import type { Channel } from '../src/participant/channel.ts'
import { openNodeClient } from '../src/participant/client.ts'
import { joinFederation } from '../src/participant/enrolment.ts'
import { createNodeDirectory, requireKey } from '../src/participant/node-directory.ts'
import { parseRoundView } from '../src/participant/round-view.ts'
import { uploadArtifact } from '../src/participant/upload.ts'
import { parameterCount } from '../src/plan/budget.ts'
import { Coordinator, RUN } from './coordinator.ts'
import { TreeMeter } from './process-tree.ts'
import { secondsOf } from './statistics.ts'
import { contributionRequest, evaluationRequest } from './submission.ts'
import { mb } from './table.ts'
import { planOfSize, writeDelta } from './workload.ts'
import { withWorkspace } from './workspace.ts'

export type LargeFigure = {
  /** Bytes of the delta's tensors, and of the model's. */
  readonly deltaBytes: number
  /** Most memory that JavaScript may take in each of the coordinator's processes. */
  readonly heapBytes: number
  /** Files that hold the weights of the checkpoint. */
  readonly weightFiles: number
  /** Drawing, writing and hashing the initial weights. */
  readonly createSeconds: number
  /** Until the delta was stored, and its digest and every value checked. */
  readonly uploadSeconds: number
  /** Until it was accepted. */
  readonly acceptSeconds: number
  /** Until the candidate was written. */
  readonly mergeSeconds: number
  /** Until the checkpoint was published. */
  readonly publishSeconds: number
  /** Largest resident memory of the process that serves, over its whole life. */
  readonly servingPeakBytes: number
  /** Of all of the coordinator's processes at one moment, the database included. */
  readonly peakBytes: number
  readonly cpuSeconds: number
}

export const LARGE_MEGABYTES = 5200
const QUICK_MEGABYTES = 20
const HEAP_MB = 256
const MIB = 2 ** 20
const POLL_MS = 100

/** Measures one round of one node. @param megabytes size of the delta, in 10^6 bytes. */
export function measureLarge({
  quick = false,
  megabytes = quick ? QUICK_MEGABYTES : LARGE_MEGABYTES,
}: {
  readonly quick?: boolean
  readonly megabytes?: number
} = {}): Promise<LargeFigure> {
  const spec = planOfSize(megabytes * 1e6)
  return withWorkspace('large', async (directory) => {
    const home = join(directory, 'coordinator')
    await Coordinator.init(home)
    const coordinator = await Coordinator.serve(home, { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` })
    try {
      const createSeconds = await secondsOf(() => coordinator.createRun(spec, 1, { evaluateWindowMs: 3_600_000n }))
      say(`the run was created in ${createSeconds.toFixed(0)} s`)
      const path = join(directory, 'delta')
      const delta = await writeDelta(path, spec, 1)
      const meter = new TreeMeter(coordinator.roots())
      meter.start()
      const times = await playRound(coordinator, directory, delta)
      const { cpuSeconds, peakBytes } = meter.stop()
      return {
        deltaBytes: parameterCount(spec.architecture) * 4,
        heapBytes: HEAP_MB * MIB,
        createSeconds,
        ...times,
        servingPeakBytes: peakResident(coordinator.pid),
        peakBytes,
        cpuSeconds,
      }
    } finally {
      await coordinator.stop()
    }
  })
}

type Delta = Awaited<ReturnType<typeof writeDelta>>

async function playRound(coordinator: Coordinator, directory: string, delta: Delta) {
  const [invitation = ''] = await coordinator.invite(1)
  const own = await createNodeDirectory(join(directory, 'node'), { name: 'node', sources: [] })
  await joinFederation(own, invitation, systemClock)
  const client = await openNodeClient(own, systemClock)
  const signer = { membership: client.membership, key: await requireKey(own, 'node.key') }
  const operator = await coordinator.operator()
  try {
    const { round } = await operator.call(OperatorService.method.startRound, { run: RUN })
    const view = parseRoundView(round, 'none')
    await client.call(RoundService.method.joinRound, { ref: view.key })
    const uploadSeconds = await secondsOf(() => uploadArtifact(client, delta, delta.path))
    say(`${mb(delta.size)} MB were sent in ${uploadSeconds.toFixed(0)} s`)
    await rm(delta.path)
    const acceptSeconds = await secondsOf(async () => {
      const request = contributionRequest(signer, view, delta)
      const { rejection } = await client.call(ContributionService.method.submitContribution, request)
      if (rejection !== undefined) throw new Error(`refused: ${rejection.detail}`)
    })
    let merged: Round | undefined
    const mergeSeconds = await secondsOf(async () => {
      merged = await reached(operator, view.key, RoundPhase.EVALUATING)
    })
    say(`merged in ${mergeSeconds.toFixed(0)} s`)
    const publishSeconds = await secondsOf(async () => {
      const request = evaluationRequest(signer, view, ensureDigest(merged?.candidateDigest ?? ''))
      const { rejection } = await client.call(ContributionService.method.submitEvaluation, request)
      if (rejection !== undefined) throw new Error(`refused: ${rejection.detail}`)
      await reached(operator, view.key, RoundPhase.PUBLISHED)
    })
    const { manifest } = await operator.call(ModelService.method.getCheckpoint, { ref: `${RUN}@1` })
    const weightFiles = weightFilesAmong(parseManifest(manifest).files).length
    return { weightFiles, uploadSeconds, acceptSeconds, mergeSeconds, publishSeconds }
  } finally {
    operator.close()
    client.close()
  }
}

/** Waits until the round is in a phase. @throws when it ends in another. */
async function reached(operator: Channel, ref: { run: string; number: number }, phase: RoundPhase): Promise<Round> {
  for (;;) {
    const { round } = await operator.call(RoundService.method.getRound, { ref })
    if (round?.phase === phase) return round
    if (round === undefined || round.phase > RoundPhase.EVALUATING) throw new Error(`the round ended: ${round?.reason}`)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** VmHWM, proc(5). */
function peakResident(pid: number): number {
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`)
}

/** One line for a terminal. */
export function largeLine(figure: LargeFigure): string {
  const { deltaBytes, uploadSeconds, mergeSeconds, publishSeconds, servingPeakBytes, peakBytes, weightFiles } = figure
  const took = [uploadSeconds, mergeSeconds, publishSeconds].map((seconds) => seconds.toFixed(1)).join(' + ')
  return `${mb(deltaBytes)} MB: ${took} s (sent + merged + published in ${weightFiles} files), peak ${mb(servingPeakBytes)} MB serving, ${mb(peakBytes)} MB in all`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { quick: { type: 'boolean', default: false }, megabytes: { type: 'string' } },
  })
  const size = values.megabytes === undefined ? {} : { megabytes: Number(values.megabytes) }
  process.stdout.write(`${largeLine(await measureLarge({ quick: values.quick, ...size }))}\n`)
}
