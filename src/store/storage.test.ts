import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Digest, digestOf } from '../core/digest.ts'
import { ensureChannelName, ensureRunId } from '../core/ids.ts'
import type { CheckpointRow } from './checkpoint-row.ts'
import { ensureStorageOf, storageDirectory } from './storage.ts'

const FILES = ['config.json', 'model.safetensors'].map((path) => ({ path, digest: digestOf(path), size: path.length }))

/** One channel that points to a checkpoint of two files, over a storage that holds what it is told. */
function check(sizes: ReadonlyMap<Digest, number>): Promise<void> {
  const checkpoint: CheckpointRow = {
    ...{ digest: digestOf('checkpoint'), run: ensureRunId('run'), version: 0, round: 0, parent: null, manifest: '{}' },
    ...{ signature: { keyId: digestOf('key'), value: '' }, files: FILES, createdAt: 0 },
  }
  const { digest, run, version } = checkpoint
  const channel = { name: ensureChannelName('global'), checkpoint: digest, run, version, updatedAt: 0 }
  const reader = { channels: async () => [channel], checkpoint: async () => checkpoint }
  const stat = async (wanted: Digest) => {
    const size = sizes.get(wanted)
    return size === undefined ? undefined : { digest: wanted, size }
  }
  return ensureStorageOf(reader, { stat })
}

describe('a storage', () => {
  const whole = new Map(FILES.map(({ digest, size }) => [digest, size]))

  it('belongs to a database when it holds what every channel points to', async () => {
    await check(whole)
  })

  it.each(FILES)('is refused without $path, or with another size of it', async ({ digest }) => {
    const without = new Map([...whole].filter(([held]) => held !== digest))
    await expect(check(without)).rejects.toMatchObject({ code: 'DATA_INVALID' })
    await expect(check(new Map([...whole, [digest, 1]]))).rejects.toMatchObject({ code: 'DATA_INVALID' })
  })

  it('is the directory that the setting names, or the usual one', () => {
    expect(storageDirectory('file:/shared/blobs', '/usual')).toBe('/shared/blobs')
    expect(storageDirectory('file:blobs', '/usual')).toBe(resolve('blobs'))
    expect(storageDirectory(undefined, '/usual')).toBe('/usual')
  })
})
