import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../test/postgres.ts'
import { encodeHeader } from '../model/safetensors.ts'
import { openBlobs } from './blobs.ts'
import { summaryOf } from './inspections.ts'
import { migrate } from './migrate.ts'
import { openStore } from './prisma-store.ts'
import type { Store } from './store.ts'

let database: TestDatabase
let store: Store
let directory: string

beforeAll(async () => {
  database = await testDatabase()
  await migrate(database.url)
  store = await openStore({ url: database.url })
  directory = await mkdtemp(join(tmpdir(), 'inspections-'))
})

afterAll(async () => {
  await store.close()
  await database.drop()
  await rm(directory, { recursive: true })
})

it('reads a blob of which nothing is known, once', async () => {
  const blobs = await openBlobs(directory)
  const spec = { name: 'with \u0000 in it', dtype: 'F32', shape: [2] } as const
  const bytes = Buffer.concat([encodeHeader([spec]), Buffer.from(Float32Array.of(0.1, 3).buffer)])
  const { digest } = await blobs.put(bytes)
  let reads = 0
  const counting = {
    summarize: (of: typeof digest) => {
      reads += 1
      return blobs.summarize(of)
    },
  }
  const context = { store, blobs: counting, clock: { now: () => 0 } }
  const squares = Math.fround(0.1) ** 2 + 9
  const summary = await summaryOf(context, digest)
  expect(summary).toMatchObject({ kind: 'tensors', bytes: bytes.length, tensors: [{ ...spec, squares }] })
  expect(await summaryOf(context, digest)).toEqual(summary)
  expect(reads).toBe(1)
})
