import { createPublicKey } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  endEvaluation,
  enrol,
  evaluate,
  sealedRound,
  TEST_POLICY,
  type TestCoordinator,
  testCoordinator,
  testNode,
  testRun,
} from '../../test/rounds.ts'
import type { Context } from '../context.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureChannelName, type RoundKey } from '../core/ids.ts'
import { DOMAINS, verifyMessage } from '../core/signature.ts'
import { ensureStrategy } from '../core/strategy.ts'
import { parseManifest } from '../model/manifest.ts'
import { readSafetensors } from '../model/safetensors.ts'
import { WEIGHTS_FILE } from '../model/weight-index.ts'
import type { CheckpointRow } from '../store/checkpoint-row.ts'
import type { LeasedJob } from '../store/job-row.ts'
import { OPTIMIZER_FILE } from '../store/publish.ts'
import type { Store, Tx } from '../store/store.ts'
import { aggregate } from './aggregate.ts'
import { decide } from './decide.ts'
import type { Task } from './task.ts'

let coordinator: TestCoordinator
let store: Store

beforeAll(async () => {
  coordinator = await testCoordinator()
  store = coordinator.context.store
  await enrol(coordinator, 3)
})

afterAll(() => coordinator.close())

const never = new AbortController().signal

async function lease(kind: 'aggregate' | 'decide', key: RoundKey): Promise<LeasedJob> {
  const job = await store.transact('lease', (tx) => tx.leaseJob([kind], coordinator.clock.now(), 60_000))
  if (job === undefined || job.key.run !== key.run) throw new Error('no such job')
  return job
}

function taskOf(job: LeasedJob, context: Context = coordinator.context): Task {
  return { context, signer: coordinator.signer, job, signal: never }
}

async function phaseOf(key: RoundKey) {
  return (await store.reader.round(key))?.round
}

async function candidateOf(key: RoundKey) {
  const round = await phaseOf(key)
  if (round === undefined || !('candidate' in round)) throw new Error('no candidate')
  return round.candidate
}

/** The store as it is for a worker that dies inside the named transaction; `tried` takes what it was about to publish. */
function dyingIn(name: string, tried: CheckpointRow[] = []): Context {
  const transact = <T>(each: string, work: (tx: Tx) => Promise<T>): Promise<T> =>
    store.transact(each, async (tx) => {
      const createCheckpoint = async (row: CheckpointRow) => {
        tried.push(row)
        await tx.createCheckpoint(row)
      }
      const result = await work({ ...tx, createCheckpoint })
      if (each === name) throw new TapestryError('UNAVAILABLE', 'as if the process died before the commit')
      return result
    })
  return { ...coordinator.context, store: { ...store, transact } }
}

async function merged(name: string, values: readonly number[], arrival?: readonly number[]): Promise<RoundKey> {
  const key = await sealedRound(coordinator, await testRun(coordinator, name), values, arrival)
  await aggregate(taskOf(await lease('aggregate', key)))
  return key
}

async function evaluated(key: RoundKey, losses: { base: number; candidate: number }): Promise<void> {
  for (const n of [1, 2, 3]) await evaluate(coordinator, key, n, n % 2 === 0 ? 'sw' : 'yo', losses)
}

function fileOf(checkpoint: CheckpointRow | undefined, path: string): Digest {
  const file = checkpoint?.files.find((one) => one.path === path)
  if (file === undefined) throw new Error(`no file ${path}`)
  return file.digest
}

describe('aggregate', () => {
  it('makes base plus the weighted sum of the deltas, and records the weights', async () => {
    const key = await merged('sum', [0.25, 0.5, 0.75])
    const round = await phaseOf(key)
    expect(round?.phase).toBe('evaluating')
    const rows = await store.reader.contributions(key)
    expect(rows.map(({ weight }) => weight?.value)).toEqual([1 / 3, 1 / 3, 1 / 3])
    const [job] = (await store.reader.jobs({ limit: 100 })).filter(({ id }) => id === 'aggregate/sum/1')
    expect(job?.state).toBe('done')

    const { blobs } = coordinator.context
    const base = await store.reader.checkpointByVersion(key.run, 0)
    const before = await readSafetensors(await blobs.localPath(fileOf(base, WEIGHTS_FILE)))
    const after = await readSafetensors(await blobs.localPath(await candidateOf(key)))
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort())
    // 0.5 on average, in the arithmetic that the merge documents.
    const step = 0.25 * (1 / 3) + 0.5 * (1 / 3) + 0.75 * (1 / 3)
    for (const [name, { data }] of after) {
      expect(data).toEqual(before.get(name)?.data.map((value) => Math.fround(value + step)))
    }
  })

  it('gives the same candidate whoever came first', async () => {
    const one = await merged('order-a', [0.1, 0.2, 0.7], [0, 1, 2])
    const other = await merged('order-b', [0.1, 0.2, 0.7], [2, 0, 1])
    expect(await candidateOf(other)).toBe(await candidateOf(one))
  })

  it('dies before its transaction, runs again, and gives what one run gives', async () => {
    const whole = await merged('alive', [0.3, -0.1, 0.9])
    const run = await testRun(coordinator, 'dead')
    const key = await sealedRound(coordinator, run, [0.3, -0.1, 0.9])
    const job = await lease('aggregate', key)
    await expect(aggregate(taskOf(job, dyingIn('record-candidate')))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect((await phaseOf(key))?.phase).toBe('aggregating')
    expect((await store.reader.contributions(key)).map(({ weight }) => weight)).toEqual([null, null, null])

    await aggregate(taskOf(job))
    expect(await candidateOf(key)).toBe(await candidateOf(whole))
    expect((await phaseOf(key))?.phase).toBe('evaluating')
  })

  it('changes nothing when it runs once more after the end', async () => {
    const run = await testRun(coordinator, 'twice')
    const key = await sealedRound(coordinator, run, [0.3, 0.2, 0.9])
    const job = await lease('aggregate', key)
    await aggregate(taskOf(job))
    const before = await store.reader.round(key)
    await expect(aggregate(taskOf(job))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect(await store.reader.round(key)).toEqual(before)
  })

  it('records nothing after its lease has passed to another worker, who ends the job', async () => {
    const run = await testRun(coordinator, 'slow')
    const key = await sealedRound(coordinator, run, [0.3, 0.2, 0.9])
    const slow = await lease('aggregate', key)
    coordinator.clock.advance(60_001)
    const next = await lease('aggregate', key)
    expect(next.attempts).toBe(2)
    await expect(aggregate(taskOf(slow))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect((await phaseOf(key))?.phase).toBe('aggregating')
    await aggregate(taskOf(next))
    expect((await phaseOf(key))?.phase).toBe('evaluating')
  })

  it('refuses when rows and round disagree', async () => {
    const run = await testRun(coordinator, 'counts')
    const key = await sealedRound(coordinator, run, [0.3, 0.2, 0.9])
    const job = await lease('aggregate', key)
    const reader = { ...store.reader, contributions: async () => (await store.reader.contributions(key)).slice(1) }
    const context = { ...coordinator.context, store: { ...store, reader } }
    await expect(aggregate(taskOf(job, context))).rejects.toMatchObject({ code: 'INTERNAL' })
    await aggregate(taskOf(job))
  })

  it('leaves no file behind when it is stopped', async () => {
    const run = await testRun(coordinator, 'stopped')
    const key = await sealedRound(coordinator, run, [0.3, 0.2, 0.9])
    const job = await lease('aggregate', key)
    const stopped = AbortSignal.abort(new TapestryError('UNAVAILABLE', 'stopping'))
    await expect(aggregate({ ...taskOf(job), signal: stopped })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(await readdir(join(coordinator.blobDirectory, 'scratch'))).toEqual([])
    await aggregate(taskOf(job))
  })
})

describe('a strategy with an optimizer', () => {
  it('releases what it remembers, and goes on from there', async () => {
    const strategy = ensureStrategy('fedavgm', { rate: 1, beta: 0.5 })
    const run = await testRun(coordinator, 'momentum', { ...TEST_POLICY, strategy })
    const checkpoints: CheckpointRow[] = []
    for (const _ of [1, 2]) {
      const key = await sealedRound(coordinator, run, [0.25, 0.25, 0.25])
      await aggregate(taskOf(await lease('aggregate', key)))
      await evaluated(key, { base: 3, candidate: 2.5 })
      await decide(taskOf(await lease('decide', key)))
      const round = await phaseOf(key)
      const digest = round?.phase === 'published' ? round.checkpoint : undefined
      const checkpoint = digest && (await store.reader.checkpoint(digest))
      if (checkpoint === undefined) throw new Error(`the round is ${round?.phase}`)
      checkpoints.push(checkpoint)
    }
    const [first, second] = checkpoints
    expect(parseManifest(Buffer.from(second?.manifest ?? '', 'utf8')).strategy).toEqual(strategy)
    const read = async (checkpoint: CheckpointRow | undefined, path: string) =>
      readSafetensors(await coordinator.context.blobs.localPath(fileOf(checkpoint, path)))
    const [before, after] = [await read(first, WEIGHTS_FILE), await read(second, WEIGHTS_FILE)]
    const remembered = await read(second, OPTIMIZER_FILE)
    // m = 0.25, then 0.5 * 0.25 + 0.25.
    for (const [name, { data }] of after) {
      const base = before.get(name)?.data
      expect(data.every((value, j) => Math.abs(value - ((base?.[j] ?? 0) + 0.375)) < 1e-6)).toBe(true)
      expect(new Set(remembered.get(`momentum.${name}`)?.data)).toEqual(new Set([0.375]))
    }
  })
})

describe('decide', () => {
  it('publishes: a signed manifest, complete files, the head, the channel, and the next round', async () => {
    const key = await merged('publish', [0.1, 0.2, 0.3])
    await evaluated(key, { base: 3, candidate: 2.5 })
    await decide(taskOf(await lease('decide', key)))

    const round = await phaseOf(key)
    if (round?.phase !== 'published') throw new Error(`the round is ${round?.phase}`)
    const checkpoint = await store.reader.checkpoint(round.checkpoint)
    if (checkpoint === undefined) throw new Error('no checkpoint')
    const bytes = Buffer.from(checkpoint.manifest, 'utf8')
    expect(digestOf(bytes)).toBe(round.checkpoint)
    const publicKey = createPublicKey(coordinator.signer.key)
    expect(verifyMessage(publicKey, DOMAINS.manifest, bytes, checkpoint.signature)).toBe(true)

    const manifest = parseManifest(bytes)
    expect(manifest).toMatchObject({ run: key.run, version: 1, round: 1, base: round.base, parents: [round.base] })
    expect(manifest.contributions.map(({ node, member }) => `${node} ${member}`).sort()).toEqual(
      [1, 2, 3].map((n) => `${testNode(n)} member-${n}`),
    )
    expect(manifest.scores['yo']).toMatchObject({
      base: { tokens: 1000 },
      measuredBy: [testNode(1), testNode(3)],
    })
    expect(manifest.files.map(({ path }) => path)).toEqual(
      [
        'README.md',
        'config.json',
        'generation_config.json',
        'model.safetensors',
        'plan.json',
        'special_tokens_map.json',
        'tokenizer.json',
        'tokenizer_config.json',
      ].sort(),
    )
    for (const { digest, size } of manifest.files) {
      const content = await readFile(await coordinator.context.blobs.localPath(digest))
      expect(content.byteLength).toBe(size)
      expect(digestOf(content)).toBe(digest)
    }
    expect((await store.reader.run(key.run))?.head).toBe(round.checkpoint)
    expect((await store.reader.channel(ensureChannelName('publish')))?.checkpoint).toBe(round.checkpoint)
    const next = await store.reader.round({ run: key.run, number: 2 })
    expect(next?.round).toMatchObject({ phase: 'open', base: round.checkpoint })
  })

  it('refuses a regression: the base stands, and the next round starts from it', async () => {
    const key = await merged('refuse', [0.1, 0.2, 0.3])
    await evaluate(coordinator, key, 1, 'yo', { base: 3, candidate: 2.5 })
    await evaluate(coordinator, key, 2, 'sw', { base: 3, candidate: 3.5 })
    await evaluate(coordinator, key, 3, 'yo', { base: 3, candidate: 2.5 })
    await decide(taskOf(await lease('decide', key)))
    const round = await phaseOf(key)
    expect(round).toMatchObject({ phase: 'rejected', reason: expect.stringContaining('sw') })
    const next = await store.reader.round({ run: key.run, number: 2 })
    expect(next?.round.base).toBe(round?.base)
    expect(await store.reader.checkpoints({ run: key.run, limit: 10 })).toHaveLength(1)
  })

  it('refuses a candidate that nobody measured', async () => {
    const key = await merged('unmeasured', [0.1, 0.2, 0.3])
    await endEvaluation(coordinator, key)
    await decide(taskOf(await lease('decide', key)))
    expect((await phaseOf(key))?.phase).toBe('rejected')
  })

  it('dies before its transaction, decides again at another time, and names the same checkpoint', async () => {
    const key = await merged('again', [0.1, 0.2, 0.3])
    await evaluated(key, { base: 3, candidate: 2.5 })
    const job = await lease('decide', key)
    const tried: CheckpointRow[] = []
    for (let turn = 0; turn < 2; turn += 1) {
      const context = dyingIn('publish-checkpoint', tried)
      await expect(decide(taskOf(job, context))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
      expect(await store.reader.checkpoints({ run: key.run, limit: 10 })).toHaveLength(1)
      coordinator.clock.advance(1000)
    }
    await decide(taskOf(job))
    const round = await phaseOf(key)
    expect(tried.map(({ digest }) => digest)).toEqual([tried[0]?.digest, tried[0]?.digest])
    expect(round).toMatchObject({ phase: 'published', checkpoint: tried[0]?.digest })
    await expect(decide(taskOf(job))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    expect(await store.reader.checkpoints({ run: key.run, limit: 10 })).toHaveLength(2)
  })

  it('measures the public sets of the operator, once', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tapestry-test-public-'))
    await writeFile(join(folder, 'sw.txt'), Array.from({ length: 40 }, (_, n) => `Habari ya asubuhi ${n}`).join('\n'))
    const config = { ...coordinator.context.config, evaluationData: folder }
    const context = { ...coordinator.context, config }
    const key = await merged('public', [0, 0, 0])
    await endEvaluation(coordinator, key)
    const job = await lease('decide', key)
    await expect(decide(taskOf(job, { ...dyingIn('publish-checkpoint'), config }))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    const rows = await store.reader.evaluations(key)
    expect(rows.map(({ measuredBy, language }) => `${measuredBy} ${language}`)).toEqual(['coordinator sw'])
    // Deltas of zero: the candidate is the base.
    expect(rows[0]?.candidate).toEqual(rows[0]?.base)
    await rm(folder, { recursive: true })
    await decide(taskOf(job, context))
    expect((await phaseOf(key))?.phase).toBe('published')
  })

  it('does not open the gate when the public sets are gone', async () => {
    const config = { ...coordinator.context.config, evaluationData: join(tmpdir(), 'tapestry-no-such-folder') }
    const key = await merged('gone', [0, 0, 0])
    await evaluated(key, { base: 3, candidate: 2.5 })
    const job = await lease('decide', key)
    const blind = taskOf(job, { ...coordinator.context, config })
    await expect(decide(blind)).rejects.toMatchObject({ code: 'DATA_INVALID' })
    expect((await phaseOf(key))?.phase).toBe('evaluating')
    await decide(taskOf(job))
  })
})
