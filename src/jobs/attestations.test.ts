import { createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  enrol,
  evaluate,
  sealedRound,
  type TestCoordinator,
  testCoordinator,
  testNode,
  testRun,
} from '../../test/rounds.ts'
import type { Context } from '../context.ts'
import { canonicalBytes } from '../core/canonical-json.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import { keyIdOf } from '../core/signature.ts'
import { verifyAttestations } from '../model/attestations.ts'
import { parseManifest } from '../model/manifest.ts'
import { ATTESTATION, ATTESTATIONS } from '../model/release-path.ts'
import type { AttestationRow } from '../store/checkpoint-row.ts'
import type { RunRow } from '../store/records.ts'
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

async function task(kind: 'aggregate' | 'decide'): Promise<Task> {
  const { context, signer, clock } = coordinator
  const job = await store.transact('lease', (tx) => tx.leaseJob([kind], clock.now(), 60_000))
  if (job === undefined) throw new Error('no job')
  return { context, signer, job, signal: new AbortController().signal }
}

/** Merges a round and lets its nodes say what the candidate is worth. */
async function candidate(run: RunRow, loss: number): Promise<RoundKey> {
  const key = await sealedRound(coordinator, run, [0.1, 0.2, 0.3])
  await aggregate(await task('aggregate'))
  for (const n of [1, 2, 3]) {
    await evaluate(coordinator, key, n, n % 2 === 0 ? 'sw' : 'yo', { base: 3, candidate: loss })
  }
  return key
}

async function release(run: RunRow): Promise<Digest> {
  const key = await candidate(run, 2.5)
  await decide(await task('decide'))
  const round = (await store.reader.round(key))?.round
  if (round?.phase !== 'published') throw new Error(`the round is ${round?.phase}`)
  return round.checkpoint
}

async function proven(checkpoint: Digest): Promise<Map<string, Buffer>> {
  const row = await store.reader.checkpoint(checkpoint)
  if (row === undefined) throw new Error('no checkpoint')
  const found = new Map<string, Buffer>()
  for (const { path, digest, size } of await store.reader.attestations(checkpoint)) {
    const bytes = Buffer.from((await store.reader.attestation(checkpoint, path)) ?? '', 'utf8')
    expect([digestOf(bytes), bytes.byteLength]).toEqual([digest, size])
    found.set(path, bytes)
  }
  const publicKey = createPublicKey(coordinator.signer.key)
  const keys = [{ keyId: keyIdOf(publicKey), publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() }]
  const bytes = Buffer.from(row.manifest, 'utf8')
  const signed = { manifest: parseManifest(bytes), bytes, signature: canonicalBytes(row.signature) }
  expect(verifyAttestations(signed, found, keys)).toEqual(ATTESTATIONS)
  return found
}

function statementOf(found: ReadonlyMap<string, Buffer>) {
  const envelope = JSON.parse(found.get(ATTESTATION.provenance)?.toString() ?? '')
  return JSON.parse(Buffer.from(envelope.payload, 'base64').toString())
}

describe('attestations', () => {
  it('go with the initial checkpoint, which no round and no data made', async () => {
    const run = await testRun(coordinator, 'initial')
    const found = await proven(run.head)
    const { buildDefinition } = statementOf(found).predicate
    expect(buildDefinition.buildType).toBe('tapestry:build/initial/v1')
    expect(buildDefinition.resolvedDependencies.map(({ name }: { name: string }) => name)).toEqual(['plan'])
    const content = JSON.parse(found.get(ATTESTATION.trainingContent)?.toString() ?? '')
    expect(content.generalInformation.trainingData.size).toEqual({ tokens: 0, documents: 0, range: 'none' })
    expect(content.dataSources.crawledData).toEqual({ used: 'no', datasets: [] })
  })

  it('say how the round was held, from what, and by whom', async () => {
    const run = await testRun(coordinator, 'held')
    const statement = statementOf(await proven(await release(run)))
    const { buildDefinition, runDetails } = statement.predicate
    expect(buildDefinition.externalParameters).toEqual({
      run: 'held',
      round: 1,
      plan: run.planDigest,
      strategy: { name: 'mean', parameters: {} },
      weighting: expect.any(String),
      quorum: 2,
    })
    const contributions = [1, 2, 3].map((n) => `contribution/${testNode(n)}`)
    expect(buildDefinition.resolvedDependencies.map(({ name }: { name: string }) => name)).toEqual([
      'plan',
      'base',
      ...contributions,
    ])
    expect(runDetails.builder.id).toBe(`tapestry:federation/${coordinator.context.federation}`)
  })

  it('are kept once when the publication dies and runs again', async () => {
    const run = await testRun(coordinator, 'once')
    const key = await candidate(run, 2.5)
    const job = await task('decide')
    const tried: AttestationRow[][] = []
    await expect(decide({ ...job, context: dying(tried) })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    coordinator.clock.advance(1000)
    await decide(job)
    const round = (await store.reader.round(key))?.round
    if (round?.phase !== 'published') throw new Error(`the round is ${round?.phase}`)
    const kept = await proven(round.checkpoint)
    expect([...kept.keys()].sort()).toEqual([...ATTESTATIONS].sort())
    const before = tried[0]?.find(({ path }) => path === ATTESTATION.modelSignature)
    // ECDSA: two signatures of one statement, of which one is kept.
    expect(before?.content).not.toBe(kept.get(ATTESTATION.modelSignature)?.toString())
    expect(before?.content.length).toBeGreaterThan(1000)
  })

  it('count every round that shaped the checkpoint, and no round that was refused', async () => {
    const run = await testRun(coordinator, 'lineage')
    await release(run)
    await candidate(run, 9)
    await decide(await task('decide'))
    const checkpoint = await release(run)
    const content = JSON.parse((await proven(checkpoint)).get(ATTESTATION.trainingContent)?.toString() ?? '')
    expect(content).toMatchObject({ checkpoint, lastUpdate: '2025-06-15' })
    expect(content.members).toEqual([
      { member: 'member-1', tokens: 2000, documents: 2 },
      { member: 'member-2', tokens: 4000, documents: 4 },
      { member: 'member-3', tokens: 6000, documents: 6 },
    ])
    expect(content.generalInformation.trainingData.languages).toEqual([
      { language: 'sw', tokens: 4000, documents: 4 },
      { language: 'yo', tokens: 8000, documents: 8 },
    ])
    const files = (await store.reader.checkpoint(checkpoint))?.files ?? []
    const card = files.find(({ path }) => path === 'README.md')?.digest
    const text = card && (await readFile(await coordinator.context.blobs.localPath(card), 'utf8'))
    expect(text).toContain('| member | member-3 | 6000 | 6 |')
  })
})

/** The store as it is for a worker that dies before it commits; `tried` takes what it was about to keep. */
function dying(tried: AttestationRow[][]): Context {
  const transact = <T>(name: string, work: (tx: Tx) => Promise<T>): Promise<T> =>
    store.transact(name, async (tx) => {
      const createAttestations = async (checkpoint: Digest, rows: readonly AttestationRow[]) => {
        tried.push([...rows])
        await tx.createAttestations(checkpoint, rows)
      }
      await work({ ...tx, createAttestations })
      throw new TapestryError('UNAVAILABLE', 'as if the process died before the commit')
    })
  return { ...coordinator.context, store: { ...store, transact } }
}
