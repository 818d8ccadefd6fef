import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { initCoordinator } from '../../src/cli/coordinator-directory.ts'
import { connectOperator } from '../../src/cli/operator-client.ts'
import { systemClock } from '../../src/core/clock.ts'
import { ensureRunId } from '../../src/core/ids.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { RoundPhase, RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { encodeHeader } from '../../src/model/safetensors.ts'
import { openNodeClient } from '../../src/participant/client.ts'
import { addDataset } from '../../src/participant/datasets.ts'
import { joinFederation } from '../../src/participant/enrolment.ts'
import { digestOfFile } from '../../src/participant/file-digest.ts'
import { createNodeDirectory } from '../../src/participant/node-directory.ts'
import { uploadArtifact } from '../../src/participant/upload.ts'
import { parameterCount } from '../../src/plan/budget.ts'
import { parameterSpecs } from '../../src/plan/parameters.ts'
import type { PlanSpec } from '../../src/plan/spec.ts'
import { datasetTerms } from '../dataset-records.ts'
import { MICRO_SPEC } from '../network.ts'
import { documentBytes } from './payload.ts'
import { Service, tapestry } from './processes.ts'
import { TestNode } from './test-node.ts'
import { writeTexts } from './texts.ts'
import { until } from './waiting.ts'

/** Enough that holding a contribution in memory, or a share of one, would show; LARGE_MB=5000 asks for more. */
const MEGABYTES = Number(process.env['LARGE_MB'] || 400)
const HEAP_MB = 256
/** Peak of the serving process: the heap it may have, its programs, and the blocks on their way. Measured: see decision 8. */
const MOST_RESIDENT_MB = 400
const PATIENCE_MS = 120_000 + MEGABYTES * 500

let root: string
let coordinator: Service

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-large-'))
  await initCoordinator({ dir: join(root, 'coordinator'), name: 'Test', settings: {}, now: Date.now() })
  const args = ['coordinator', 'serve', '--dir', join(root, 'coordinator'), '--port', '0']
  coordinator = new Service('coordinator', args, {
    home: root,
    env: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` },
  })
  await coordinator.line('serves', (line) => 'address' in line)
})

afterAll(async () => {
  await coordinator?.stop()
  await rm(root, { recursive: true, force: true })
})

/** A plan whose deltas have about so many megabytes. */
function planOf(megabytes: number): PlanSpec {
  const width = { hiddenSize: 1024, heads: 8, kvHeads: 8, contextLength: 32 }
  const at = (layers: number): PlanSpec => ({
    ...MICRO_SPEC,
    architecture: { ...MICRO_SPEC.architecture, ...width, intermediateSize: 4096, layers },
    training: { ...MICRO_SPEC.training, batchSize: 1, sequenceLength: 8 },
  })
  const layer = parameterCount(at(2).architecture) - parameterCount(at(1).architecture)
  return at(Math.max(1, Math.round((megabytes * 1e6) / 4 / layer)))
}

/** A delta that changes a value here and there: the rest of the file takes no room on the disk. */
async function writeDelta(path: string, spec: PlanSpec): Promise<void> {
  const header = encodeHeader(parameterSpecs(spec))
  await writeFile(path, header)
  await truncate(path, header.byteLength + 4 * parameterCount(spec.architecture))
  const file = await open(path, 'r+')
  const value = Buffer.alloc(4)
  value.writeFloatLE(1e-4)
  for (let at = 0; at < 100; at += 1) {
    await file.write(value, 0, 4, header.byteLength + 4 * Math.floor((parameterCount(spec.architecture) * at) / 100))
  }
  await file.close()
}

async function peakResidentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]) / 1024
}

/** A node of a member, with text, that its test drives by hand. */
async function enrolledNode(invitation: string): Promise<TestNode> {
  const sources = await writeTexts(join(root, 'texts'), 'node', ['sw'])
  const directory = await createNodeDirectory(join(root, 'node'), { name: 'node', sources })
  await addDataset(directory, datasetTerms({ languages: sources.map(({ language }) => language) }), sources)
  await joinFederation(directory, invitation, systemClock)
  return TestNode.open(directory, await openNodeClient(directory, systemClock), systemClock)
}

test('a contribution far larger than the heap goes through a coordinator', { timeout: PATIENCE_MS }, async () => {
  const spec = planOf(MEGABYTES)
  const dir = ['--dir', join(root, 'coordinator')]
  const plan = join(root, 'plan.json')
  await writeFile(plan, JSON.stringify(spec))
  const created = await tapestry(
    ['run', 'create', 'large', ...dir, '--plan', plan, '--target', '1', '--quorum', '1', '--rounds', '1'],
    { home: root },
    PATIENCE_MS,
  )
  expect(created, created.stderr).toMatchObject({ code: 0 })

  const operator = await connectOperator({ dir: join(root, 'coordinator') }, {})
  const { invitation } = await operator.call(OperatorService.method.createInvitation, { member: 'm', validSeconds: 0 })
  const node = await enrolledNode(invitation)
  const { round } = await operator.call(OperatorService.method.startRound, { run: 'large' })
  const place = { key: { run: ensureRunId('large'), number: round?.ref?.number ?? 0 }, base: round?.baseDigest ?? '' }
  await node.join(place.key)

  const path = join(root, 'delta.safetensors')
  await writeDelta(path, spec)
  const { digest, size } = await digestOfFile(path)
  const begun = performance.now()
  await uploadArtifact(node.client, { digest, size }, path)
  const uploaded = performance.now()
  const claim = { ...node.claim(place, { digest, bytes: Buffer.alloc(0) }), payloadBytes: size }
  expect(await node.submit(documentBytes(claim))).toMatchObject({ reason: undefined })
  const submitted = performance.now()
  const merged = await until(
    'the merge',
    async () => {
      const { round: now } = await operator.call(RoundService.method.getRound, { ref: place.key })
      return now?.phase === RoundPhase.EVALUATING || now?.phase === RoundPhase.FAILED ? now : undefined
    },
    PATIENCE_MS,
  )
  expect(merged.phase).toBe(RoundPhase.EVALUATING)
  const peak = await peakResidentMb(coordinator.pid)
  process.stderr.write(
    `${(size / 1e6).toFixed(0)} MB: sent in ${((uploaded - begun) / 1000).toFixed(1)} s, judged in ` +
      `${((submitted - uploaded) / 1000).toFixed(2)} s, peak of the serving process ${peak.toFixed(0)} MB\n`,
  )
  expect(peak).toBeLessThan(MOST_RESIDENT_MB)
  node.close()
  operator.close()
})
