import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ModelFiles, mergeStep } from '../../src/aggregation/merge-step.ts'
import { coordinatorPaths } from '../../src/cli/coordinator-directory.ts'
import { createProgram } from '../../src/cli/program.ts'
import { canonicalJson } from '../../src/core/canonical-json.ts'
import { F32 } from '../../src/core/codec.ts'
import { type Digest, digestOf, ensureDigest } from '../../src/core/digest.ts'
import { MEAN } from '../../src/core/strategy.ts'
import { RevocationService } from '../../src/gen/proto/tapestry/v1/revocation_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { WEIGHTS_FILE } from '../../src/model/weight-index.ts'
import { readDatasets } from '../../src/participant/dataset-file.ts'
import { digestOfFile } from '../../src/participant/file-digest.ts'
import { estimateRevocation, requestRevocation } from '../../src/participant/revocations.ts'
import { engineTrainer } from '../../src/participant/trainer.ts'
import { parsePlan } from '../../src/plan/plan.ts'
import { readExport } from '../ledger-reader.ts'
import { TestNetwork } from '../network.ts'
import { Service, tapestry as tapestryProcess } from './processes.ts'
import type { TestNode } from './test-node.ts'
import { until } from './waiting.ts'

/** Two windows fit into the few minutes by which a test may move the clock. Worker processes do not see it move. */
const WINDOW_MS = 90_000

let network: TestNetwork
let nodes: readonly TestNode[]

beforeAll(async () => {
  const windows = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS }
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
    const processes = [
      ['pull', touched, ...stranger(), '--output', join(network.root, 'elsewhere')],
      ['verify', output(), ...trust],
      ['verify', output(), ...trust, '--allow-superseded'],
    ].map((words) => tapestryProcess(words, { home: network.root }))
    expect((await Promise.all(processes)).map(({ code }) => code)).toEqual([5, 5, 0])
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

describe('what remains of a round of real nodes', () => {
  let touched: Digest
  /** Of the one whose consent ends: its contribution, and the bytes of it. */
  let revoked: { readonly id: Digest; readonly payload: Digest }
  /** Weights that the clean base and what the others handed in make. */
  let remainder: Digest
  let worker: Service | undefined

  beforeAll(async () => {
    const { key, base } = await network.startRound()
    touched = await trained(key.number, nodes)
    const rows = await network.store.reader.contributions(key)
    revoked = rows.find(({ node }) => node === nodes[2]?.id) ?? { id: touched, payload: touched }
    const rest = rows.filter(({ id }) => id !== revoked.id)
    remainder = await merged(ensureDigest(base), rest)
    await network.stopWorker()
  })

  afterAll(() => worker?.kill())

  async function merged(base: Digest, rows: readonly { readonly payload: Digest }[]): Promise<Digest> {
    const { blobs } = network.parts.context
    const deltas = rows.map(async ({ payload }) => ({ path: await blobs.localPath(payload), weight: 1 / rows.length }))
    const from = { weights: [await blobs.localPath(await weightsOf(base))], state: undefined }
    const made = join(await blobs.scratch(), 'made')
    const { weights } = await mergeStep(from, await Promise.all(deltas), made, { strategy: MEAN, codec: F32 })
    return (await digestOfFile(weights[0] ?? '')).digest
  }

  async function startWorker(leaseMs = 60_000): Promise<Service> {
    await writeFile(coordinatorPaths(network.directory).config, JSON.stringify({ leaseMs }))
    const env = { DATABASE_URL: network.parts.databaseUrl }
    return new Service('worker', ['worker', '--dir', network.directory], { home: network.root, env })
  }

  /** Lets a worker come as far as a lock lets it, and ends it by SIGKILL there: in the middle of its job. */
  async function killWorkerAt(lock: string, isThere: () => Promise<boolean>): Promise<void> {
    const holder = new Client({ connectionString: network.parts.databaseUrl })
    await holder.connect()
    // Its job is taken over within seconds instead of a minute.
    const killed = await startWorker(1000)
    try {
      await holder.query('BEGIN')
      await holder.query(lock)
      await until('the worker has come to the lock', async () => ((await isThere()) ? true : undefined))
    } finally {
      await killed.kill()
      await holder.end()
    }
  }

  const isDone = (number: number) => async () => {
    const row = await network.store.reader.revocation({ run: network.run, number })
    return row?.state.phase === 'done' ? row : undefined
  }
  const has = (digest: Digest) => network.parts.context.blobs.has(digest)
  const asOperator = () => ['--as', 'operator', '--dir', network.directory]
  const revoke = (...words: string[]) => tapestry('contribution', 'revoke', ...words)

  test('is to be merged again when its consent is withdrawn', async () => {
    const { directory } = nodes[2] ?? {}
    const [dataset] = directory === undefined ? [] : await readDatasets(directory)
    const withdrawn = ['dataset', 'withdraw', dataset?.terms.id ?? '', '--dir', directory?.root ?? '', '--revoke']
    await expect(tapestry(...withdrawn)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await tapestry(...withdrawn, '--yes')).toMatchObject({
      told: true,
      contributions: [revoked.id],
      revocations: [{ number: 2, mode: 'remerge', revision: 4, estimate: { superseded: [touched], remerged: 2 } }],
    })
    expect(await tapestry(...withdrawn, '--yes')).toMatchObject({ withdrawn: true, contributions: [], revocations: [] })
  })

  test('becomes the same release by the worker that comes after one that was killed', async () => {
    const revision = { run: network.run, number: 4 }
    await killWorkerAt('SELECT 1 FROM remerge FOR UPDATE', () => has(remainder))
    worker = await startWorker()
    const judges = Promise.all(nodes.slice(0, 2).map((node) => node.run({ run: network.run, rounds: 1 })))
    const { round } = await network.roundEnded(revision)
    expect(round).toMatchObject({ phase: RoundPhase.PUBLISHED, reason: '', revisionOf: 2 })
    await judges
    expect(await weightsOf(ensureDigest(round?.checkpointDigest ?? ''))).toBe(remainder)
    expect((await network.store.reader.job(`aggregate/${network.run}/4`))?.attempts).toBeGreaterThan(1)
    const { state } = await until('the revocation is done', isDone(2))
    expect(state).toMatchObject({ outcome: { kind: 'reissued', checkpoint: round?.checkpointDigest } })
    expect([await has(revoked.payload), await has(await weightsOf(touched))]).toEqual([false, false])
    await worker.stop()
  })

  test('may be taken back by a record or a node, whole', async () => {
    const [one, other] = nodes
    if (one === undefined || other === undefined) throw new Error('no nodes')
    const why = ['--reason', 'a test', '--dry-run']
    const all = (await network.store.reader.contributionsOf(one.id)).map(({ id }) => id)
    expect(all).toHaveLength(3)
    for (const subject of [
      ['--record', one.record],
      ['--node', one.id],
    ]) {
      expect(await revoke(...subject, ...asOperator(), ...why)).toMatchObject({
        estimates: [{ contributions: all, rounds: [2, 4], firstBase: true }],
        revocations: [],
      })
      const byOther = revoke(...subject, '--dir', other.directory.root, ...why)
      await expect(byOther).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
      await expect(revoke(...subject, revoked.id, ...asOperator(), ...why)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      })
    }
    await expect(revoke(...asOperator(), ...why)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(revoke('--record', 'radio', ...asOperator(), ...why)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    await expect(revoke('--record', touched, ...asOperator(), ...why)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('goes with a node that is ejected, and a worker that is killed between deleting and saying so', async () => {
    const [one] = nodes
    const [{ payload } = { payload: touched }] = one ? await network.store.reader.contributionsOf(one.id) : []
    const eject = ['nodes', 'eject', one?.id ?? '', '--reason', 'poisoned', '--revoke', '--mode', 'rewind']
    const dir = ['--dir', network.directory]
    await expect(tapestry(...eject, ...dir)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await tapestry(...eject, ...dir, '--yes')).toMatchObject({
      node: { status: 'ejected' },
      revocations: [{ number: 3, mode: 'rewind', requestedBy: 'operator', reason: 'poisoned' }],
    })
    expect(await tapestry(...eject, ...dir, '--yes')).toMatchObject({ dropped: [], revocations: [] })
    await killWorkerAt('LOCK TABLE ledger_pending IN SHARE MODE', async () => !(await has(payload)))
    const { state } = (await network.store.reader.revocation({ run: network.run, number: 3 })) ?? {}
    expect(state).toMatchObject({ phase: 'deleting' })
    worker = await startWorker()
    expect(await until('the revocation is done', isDone(3))).toMatchObject({ state: { outcome: { kind: 'returned' } } })
    expect((await network.store.reader.job(`revoke/${network.run}/3`))?.attempts).toBeGreaterThan(1)
  })
})
