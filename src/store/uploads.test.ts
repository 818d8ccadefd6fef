import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { digest, NOW, nodeId, seed, testStore } from '../../test/store-rows.ts'
import type { NodeId } from '../core/ids.ts'
import { openBlobs } from './blobs.ts'
import { openStore } from './prisma-store.ts'
import type { Store } from './store.ts'
import { announceUpload, type UploadContext } from './uploads.ts'

/** What a node may announce for one round, bytes, and in how many equal parts it does. */
const LIMIT = 12_000
const PARTS = 12
const PART_BYTES = LIMIT / PARTS
const REFUSED = { code: 'RESOURCE_EXHAUSTED', message: expect.stringContaining('for one round') }

let root: string
let first: Store
let second: Store
let close: () => Promise<void>
/** Two coordinators on one database and one storage. */
let replicas: readonly [UploadContext, UploadContext]

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-uploads-'))
  const opened = await testStore()
  first = opened.store
  second = await openStore({ url: opened.url })
  close = async () => {
    await second.close()
    await opened.close()
  }
  await seed(first, 4)
  replicas = [await replicaOn(first), await replicaOn(second)]
})

afterAll(async () => {
  await close?.()
  await rm(root, { recursive: true, force: true })
})

async function replicaOn(store: Store): Promise<UploadContext> {
  return {
    store,
    blobs: await openBlobs(root),
    clock: { now: () => NOW },
    freeBytes: async () => Number.POSITIVE_INFINITY,
    config: {
      maxArtifactBytes: LIMIT,
      maxOpenUploads: 1000,
      maxOpenBytes: Number.POSITIVE_INFINITY,
      maxRoundBytes: LIMIT,
      minBytesPerSecond: 0,
      minFreeBytes: 0,
    },
  }
}

const announceAt = (replica: 0 | 1, node: NodeId, part: string, bytes: number) =>
  announceUpload(replicas[replica], node, digest(`${part} of ${node}`), bytes)

it('holds a node that announces some at one replica and the rest at another to one limit', async () => {
  const node = nodeId(0)
  await announceAt(0, node, 'first', LIMIT - 10)
  await expect(announceAt(1, node, 'second', 11)).rejects.toMatchObject(REFUSED)
  await announceAt(1, node, 'second', 10)
  for (const replica of [0, 1] as const) {
    await expect(announceAt(replica, node, 'third', 1)).rejects.toMatchObject(REFUSED)
    // What it goes on with, at either, was counted when it began.
    expect(await announceAt(replica, node, 'first', LIMIT - 10)).toMatchObject({ kind: 'open' })
  }
})

it('counts what arrives at two replicas at once, up to the limit and no further', async () => {
  const node = nodeId(1)
  const all = Array.from({ length: 2 * PARTS }, (_, part) => part)
  const outcomes = await Promise.allSettled(
    all.map((part) => announceAt(part % 2 === 0 ? 0 : 1, node, `part ${part}`, PART_BYTES)),
  )
  const refusals = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []))
  expect(refusals).toHaveLength(PARTS)
  for (const refusal of refusals) expect(refusal).toMatchObject(REFUSED)
})

it('counts once what a node announces at two replicas at once', async () => {
  const node = nodeId(2)
  const parts = Array.from({ length: PARTS }, (_, part) => `part ${part}`)
  const twice = parts.flatMap((part) => ([0, 1] as const).map((replica) => ({ part, replica })))
  await Promise.all(twice.map(({ part, replica }) => announceAt(replica, node, part, PART_BYTES)))
  await expect(announceAt(0, node, 'one more', 1)).rejects.toMatchObject(REFUSED)
})
