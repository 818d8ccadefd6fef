import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { ARCHITECTURE, randomLlama, writeCheckpoint } from '../../test/interop/checkpoint.ts'
import { makeFederation } from '../../test/interop/federation.ts'
import { canonicalBytes } from '../core/canonical-json.ts'
import { digestOf } from '../core/digest.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import { type Manifest, manifestBytes } from './manifest.ts'
import { verifyCheckpoint } from './verify.ts'
import { indexBytes, parseIndex, WEIGHTS_INDEX, type WeightIndex, weightFilesAmong } from './weight-index.ts'

const root = await mkdtemp(join(tmpdir(), 'verify-shards-'))
const directory = join(root, 'model')
const federation = await makeFederation()
const trust = { federation: federation.record.id }
const unverified = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
let manifest: Manifest
let shards: string[]

beforeEach(async () => {
  await rm(directory, { recursive: true, force: true })
  manifest = await writeCheckpoint(directory, federation, randomLlama(ARCHITECTURE, 1), ARCHITECTURE, 10_000)
  shards = weightFilesAmong(manifest.files).map(({ path }) => path)
})
afterAll(() => rm(root, { recursive: true }))

test('accepts a checkpoint in shards', async () => {
  expect(shards.length).toBeGreaterThan(2)
  expect((await verifyCheckpoint(directory, trust)).manifest.files).toEqual(manifest.files)
})

test('a shard that is missing, cut, or another one', async () => {
  const [one = '', other = ''] = shards.map((name) => join(directory, name))
  const bytes = await readFile(one)
  await writeFile(one, bytes.subarray(0, -4))
  await expect(verifyCheckpoint(directory, trust)).rejects.toEqual(unverified)
  await rename(other, one)
  await expect(verifyCheckpoint(directory, trust)).rejects.toEqual(unverified)
  await writeFile(other, bytes)
  await expect(verifyCheckpoint(directory, trust)).rejects.toEqual(unverified)
})

/** Replaces the index, and signs the manifest that lists it: what a careless coordinator might release. */
async function release(bytes: Uint8Array): Promise<void> {
  await writeFile(join(directory, WEIGHTS_INDEX), bytes)
  const file = { path: WEIGHTS_INDEX, digest: digestOf(bytes), size: bytes.byteLength }
  const files = manifest.files.map((one) => (one.path === WEIGHTS_INDEX ? file : one))
  const signed = manifestBytes({ ...manifest, files })
  await writeFile(join(directory, 'manifest.json'), signed)
  await writeFile(
    join(directory, 'manifest.sig'),
    canonicalBytes(signMessage(federation.releaseKey, DOMAINS.manifest, signed)),
  )
}

describe('an index that is signed and lies', () => {
  const edit = async (change: (index: WeightIndex) => WeightIndex) => {
    await release(indexBytes(change(parseIndex(await readFile(join(directory, WEIGHTS_INDEX))))))
  }
  const editShards = (change: (shards: WeightIndex['shards']) => WeightIndex['shards']) =>
    edit((index) => ({ ...index, shards: change(index.shards) }))

  test('the honest one, signed again, is taken', async () => {
    await edit((index) => index)
    await verifyCheckpoint(directory, trust)
  })

  test.each<[string, () => Promise<void>]>([
    ['about the bytes in all', () => edit((index) => ({ ...index, tensorBytes: index.tensorBytes + 4 }))],
    [
      'about a shard’s digest',
      () => editShards(([first, ...rest]) => [{ ...first!, digest: digestOf('other') }, ...rest]),
    ],
    ['about a shard’s size', () => editShards(([first, ...rest]) => [{ ...first!, size: 1 }, ...rest])],
    [
      'about where a tensor is',
      () =>
        editShards(([first, second, ...rest]) => {
          const [moved = '', ...kept] = second!.tensors
          return [{ ...first!, tensors: [...first!.tensors, moved] }, { ...second!, tensors: [...kept, 'x'] }, ...rest]
        }),
    ],
    [
      'about a tensor that is nowhere',
      () => editShards(([first, ...rest]) => [{ ...first!, tensors: [...first!.tensors, 'x'] }, ...rest]),
    ],
    ['and is no index', () => release(Buffer.from('{}'))],
  ])('%s', async (_, lie) => {
    await lie()
    await expect(verifyCheckpoint(directory, trust)).rejects.toEqual(unverified)
  })
})
