import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  enrol,
  evaluate,
  sealedRound,
  TEST_POLICY,
  type TestCoordinator,
  testCoordinator,
  testRun,
} from '../../test/rounds.ts'
import { digestOf } from '../core/digest.ts'
import type { RoundKey } from '../core/ids.ts'
import { ensureStrategy } from '../core/strategy.ts'
import { parseManifest } from '../model/manifest.ts'
import { operatorRecordBytes, signOperatorRecord } from '../model/operator-record.ts'
import { type Override, signOverride } from '../model/override.ts'
import { advanceRound } from '../store/advance.ts'
import type { JobKind } from '../store/job-row.ts'
import { OPTIMIZER_FILE } from '../store/publish.ts'
import { aggregate } from './aggregate.ts'
import { decide } from './decide.ts'
import { override } from './override.ts'
import type { Task } from './task.ts'

const HANDLERS = { aggregate, decide, override }

let coordinator: TestCoordinator
beforeAll(async () => {
  coordinator = await testCoordinator()
  await enrol(coordinator, 3)
})
afterAll(() => coordinator.close())

async function lease(kind: JobKind): Promise<Task> {
  const { context, signer, clock } = coordinator
  const job = await context.store.transact('lease', (tx) => tx.leaseJob([kind], clock.now(), 60_000))
  if (job === undefined) throw new Error(`there is no ${kind} to do`)
  return { context, signer, job, signal: new AbortController().signal }
}

const work = async (kind: keyof typeof HANDLERS) => HANDLERS[kind](await lease(kind))

async function roundOf(key: RoundKey) {
  const row = await coordinator.context.store.reader.round(key)
  if (row === undefined) throw new Error('no round')
  return row.round
}

/** A round of which the nodes say this about swahili. */
async function decided(run: Parameters<typeof sealedRound>[1], candidate: number): Promise<RoundKey> {
  const key = await sealedRound(coordinator, run, [0.1, 0.2, 0.3])
  await work('aggregate')
  for (const n of [1, 2, 3]) await evaluate(coordinator, key, n, 'sw', { base: 3, candidate })
  await work('decide')
  return key
}

/** What operators have signed, as far as the job is concerned: the proof is checked where it arrives. */
async function carry(key: RoundKey): Promise<void> {
  const { context, clock } = coordinator
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const { federation } = context
  const facts = { federation, version: 1, previous: null, threshold: 1 } as const
  const operators = signOperatorRecord(operatorRecordBytes(facts, [{ name: 'chair', publicKey: pem }]), privateKey)
  const about = { federation, run: key.run, round: key.number, candidate: digestOf('c'), gate: digestOf('g') }
  const proof: Override = { operators, statements: [signOverride(about, 'because', privateKey)] }
  await context.store.transact('carry', async (tx) => {
    await tx.putReleaseOverride(key, proof, clock.now())
    await advanceRound(tx, key, { type: 'override-carried' }, clock.now())
  })
}

it('publishes with the state of the optimizer, and ends what went on from the old base', async () => {
  const { reader } = coordinator.context.store
  const run = await testRun(coordinator, 'carried', { ...TEST_POLICY, strategy: ensureStrategy('fedadam', {}) })
  const key = await decided(run, 3.5)
  const next = { run: key.run, number: key.number + 1 }
  expect(await roundOf(next)).toMatchObject({ phase: 'open', base: run.head })
  await carry(key)
  await work('override')
  const round = await roundOf(key)
  if (round.phase !== 'published') throw new Error(`the round is ${round.phase}`)
  const checkpoint = await reader.checkpoint(round.checkpoint)
  expect(checkpoint).toMatchObject({ version: 1, parent: run.head })
  expect(checkpoint?.files.map(({ path }) => path)).toContain(OPTIMIZER_FILE)
  expect((await reader.run(key.run))?.head).toBe(round.checkpoint)
  expect(await roundOf(next)).toMatchObject({ phase: 'failed' })
  expect(await roundOf({ run: key.run, number: 3 })).toMatchObject({ phase: 'open', base: round.checkpoint })
})

it('names the same checkpoint when it is done again after its worker died', async () => {
  const { reader } = coordinator.context.store
  const run = await testRun(coordinator, 'again', { ...TEST_POLICY, rounds: 1 })
  const key = await decided(run, 3.5)
  await carry(key)
  const dead = await lease('override')
  coordinator.clock.advance(61_000)
  const alive = await lease('override')
  await expect(override(dead)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  expect((await roundOf(key)).phase).toBe('rejected')
  await override(alive)
  const [checkpoint] = await reader.checkpoints({ run: key.run, limit: 1 })
  const manifest = parseManifest(Buffer.from(checkpoint?.manifest ?? '', 'utf8'))
  expect(manifest.override?.statements).toHaveLength(1)
  expect(await roundOf(key)).toMatchObject({ phase: 'published', checkpoint: checkpoint?.digest })
})

it('leaves a later release from the same base alone', async () => {
  const { reader } = coordinator.context.store
  const run = await testRun(coordinator, 'late', { ...TEST_POLICY, rounds: 2 })
  const key = await decided(run, 3.5)
  await carry(key)
  const later = await decided(run, 2.5)
  const released = await roundOf(later)
  expect(released).toMatchObject({ phase: 'published', base: run.head })
  await work('override')
  expect(await roundOf(key)).toMatchObject({ phase: 'rejected', overridden: false })
  expect(await reader.checkpoints({ run: key.run, limit: 10 })).toHaveLength(2)
  expect((await reader.run(key.run))?.head).toBe(released.phase === 'published' && released.checkpoint)
})
