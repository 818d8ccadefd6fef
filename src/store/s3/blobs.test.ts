import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe } from 'vitest'
import { blobContract } from '../../../test/blob-contract.ts'
import { hasSeaweed, TestS3, WITHOUT_SEAWEED } from '../../../test/seaweed.ts'
import { openStorage, type Storage } from '../storage.ts'

describe.skipIf(!hasSeaweed)(`blobs in a bucket${WITHOUT_SEAWEED}`, () => {
  let server: TestS3
  let root: string
  let count = 0

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 's3-blobs-'))
    server = await TestS3.start()
    await server.makeBucket('blobs')
  })

  afterAll(async () => {
    await server?.stop()
    await rm(root, { recursive: true, force: true })
  })

  const open = (prefix: string): Promise<Storage> =>
    openStorage(server.setting('blobs', prefix), { blobs: join(root, 'unused'), spool: join(root, prefix) })

  describe('keep the contract', () => {
    let stores: { readonly blobs: Storage['blobs']; readonly other: Storage['blobs'] }
    beforeEach(async () => {
      const prefix = `contract-${++count}`
      stores = { blobs: (await open(prefix)).blobs, other: (await open(prefix)).blobs }
    })
    blobContract(() => stores)
  })
})
