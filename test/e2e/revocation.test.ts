import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ModelFiles, mergeStep } from '../../src/aggregation/merge-step.ts'
import { createProgram } from '../../src/cli/program.ts'
import { canonicalJson } from '../../src/core/canonical-json.ts'
import { F32 } from '../../src/core/codec.ts'
import { type Digest, digestOf, ensureDigest } from '../../src/core/digest.ts'
import { MEAN } from '../../src/core/strategy.ts'
import { RevocationService } from '../../src/gen/proto/tapestry/v1/revocation_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { WEIGHTS_FILE } from '../../src/model/weight-index.ts'
import { digestOfFile } from '../../src/participant/file-digest.ts'
import { estimateRevocation, requestRevocation } from '../../src/participant/revocations.ts'
import { engineTrainer } from '../../src/participant/trainer.ts'
import { parsePlan } from '../../src/plan/plan.ts'
import { readExport } from '../ledger-reader.ts'
import { TestNetwork } from '../network.ts'
import type { TestNode } from './test-node.ts'
import { until } from './waiting.ts'

/** Two windows fit into the few minutes by which a test may move the clock. */
const WINDOW_MS = 90_000

let network: TestNetwork
let nodes: readonly TestNode[]

beforeAll(async () => {
  const windows = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }
  network = await TestNetwork.create({ participants: 3, policy: { quorum: 2, ...windows } })
  nodes = network.nodes
})

afterAll(() => network?.close())

/** One round of these nodes, which train as the product trains. */
async function trained(number: number, those: readonly TestNode[]): Promise<Digest> {
  const key = { run: network.run, number }
  const stop = new AbortController()
  const loops = Promise.all(those.map((node) => node.run({ run: network.run, rounds: 1, signal: stop.signal })))
  if (those.length < nodes.length) {
    await until('those have joined', async () => {
      return (await network.round(key)).round?.roster === those.length ? true : undefined
    })
    network.clock.advance(WINDOW_MS)
  }
  const { round } = await network.roundEnded(key)
  expect(round).toMatchObject({ phase: RoundPhase.PUBLISHED, reason: '' })
  await loops
  return ensureDigest(round?.checkpointDigest ?? '')
}

/** What these nodes make of a turn, computed without rounds: by the trainer and the merge alone. */
async function straight(turn: number, those: readonly TestNode[], base: ModelFiles): Promise<ModelFiles> {
  const run = await network.store.reader.run(network.run)
  const plan = parsePlan(Buffer.from(run?.plan ?? '', 'utf8'))
  const scratch = await network.parts.context.blobs.scratch()
  const inOrder = [...those].sort((a, b) => (a.id < b.id ? -1 : 1))
  for (const node of inOrder) {
    const { sources } = await node.directory.read()
    const seed = digestOf(canonicalJson([plan.spec.seed, network.run, turn, node.id]))
    const outDelta = join(scratch, `${node.name}.safetensors`)
    const task = { plan, baseWeights: base.weights, sources, seed, outDelta }
    await engineTrainer().train(task, new AbortController().signal, () => undefined)
  }
  const deltas = inOrder.map(({ name }) => ({ path: join(scratch, `${name}.safetensors`), weight: 1 / inOrder.length }))
  return mergeStep(base, deltas, join(scratch, 'made'), { strategy: MEAN, codec: F32 })
}

async function weightsOf(checkpoint: Digest): Promise<Digest> {
  const files = (await network.store.reader.checkpoint(checkpoint))?.files
  return files?.find(({ path }) => path === WEIGHTS_FILE)?.digest ?? ensureDigest('')
}

/** A command of the product, in this process. */
async function tapestry(...words: string[]): Promise<Record<string, unknown>> {
  let text = ''
  const stdout = { write: (more: string) => (text += more) }
  const io = { stdout, stderr: { write: () => true }, env: { XDG_CONFIG_HOME: network.root }, clock: network.clock }
  const program = await createProgram(words, { ...io, stopSignal: () => AbortSignal.timeout(60_000) })
  await program.parseAsync([...words, '--json'], { from: 'user' })
  return JSON.parse(text)
}

describe('rounds of real nodes that are run again', () => {
  let touched: Digest
  let id: string

  beforeAll(async () => {
    const { key } = await network.startRound()
    touched = await trained(key.number, nodes)
    const rows = await network.store.reader.contributions(key)
    id = rows.find(({ node }) => node === nodes[2]?.id)?.id ?? ''
  })

  const stranger = () => ['--from', network.address, '--trust', network.federation]
  const output = () => join(network.root, 'pulled')

  test('cannot be asked for by a stranger, nor by another member, nor of what is not there', async () => {
    const wish = { subject: { case: 'contribution', value: id }, mode: 'rewind', reason: '' } as const
    await expect(estimateRevocation(network.channel(), wish)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    const [other] = nodes
    if (other === undefined) throw new Error('no nodes')
    await expect(requestRevocation(other.client, wish)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    await expect(requestRevocation(network.operator, wish)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const unknown = { ...wish, subject: { case: 'contribution', value: digestOf('nothing') } } as const
    await expect(requestRevocation(network.operator, unknown)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('give the weights of a run that never had it, with the same seeds', async () => {
    await tapestry('pull', `${network.run}@1`, ...stranger(), '--output', output())
    const dir = ['--dir', nodes[2]?.directory.root ?? '']
    const asked = ['contribution', 'revoke', id, '--mode', 'rewind', ...dir]
    await expect(tapestry(...asked)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const { revocations } = await tapestry(...asked, '--yes', '--wait')
    expect(revocations).toMatchObject([{ number: 1, state: 'done', estimate: { rounds: [1], repeatedRounds: 1 } }])
    await expect(tapestry(...asked, '--yes')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    const { key, base } = await network.startRound()
    expect(key.number).toBe(2)
    const repeated = await trained(2, nodes.slice(0, 2))
    const path = await network.parts.context.blobs.localPath(await weightsOf(ensureDigest(base)))
    const never = await straight(1, nodes.slice(0, 2), { weights: [path], state: undefined })
    expect(await weightsOf(repeated)).toBe((await digestOfFile(never.weights[0] ?? '')).digest)
  })

  test('leave a superseded checkpoint that nobody takes unawares', async () => {
    const trust = ['--trust', network.federation]
    await expect(tapestry('verify', output(), ...trust, '--from', network.address)).rejects.toMatchObject({
      code: 'VERIFICATION_FAILED',
    })
    expect(await tapestry('verify', output(), ...trust)).toMatchObject({ verified: true, superseded: false })
    await expect(tapestry('pull', touched, ...stranger(), '--output', output())).rejects.toMatchObject({
      code: 'VERIFICATION_FAILED',
    })
    await expect(tapestry('verify', output(), ...trust)).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
    expect(await tapestry('verify', output(), ...trust, '--allow-superseded')).toMatchObject({ superseded: true })
    const listed = Object.values(await tapestry('models', 'ls', ...stranger()))
    expect(listed.map((one) => Object(one).superseded)).toEqual([false, true, false])
  })

  test('stand in the log, which another reader verifies', async () => {
    const { revocations } = await network.operator.call(RevocationService.method.listRevocations, {})
    expect(revocations).toMatchObject([{ number: 1, requestedBy: nodes[2]?.id, state: 'done' }])
    const exported = join(network.root, 'log')
    await tapestry('log', 'export', exported, ...stranger())
    const { entries } = readExport(exported, network.federation)
    const told = entries.filter((entry) => 'revocation' in entry).map(({ type }) => type)
    expect(told).toEqual(['revocation-requested', 'superseded', 'revocation-done'])
    expect(entries.find(({ type }) => type === 'superseded')).toMatchObject({ checkpoints: [touched] })
  })
})
