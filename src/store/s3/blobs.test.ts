import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, utimes } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { blobContract } from '../../../test/blob-contract.ts'
import { S3Proxy } from '../../../test/s3-proxy.ts'
import { hasSeaweed, S3_CREDENTIALS, S3_READER, TestS3, WITHOUT_SEAWEED } from '../../../test/seaweed.ts'
import { type Digest, digestOf, hexOf } from '../../core/digest.ts'
import { blobPath, listBlobs } from '../blob-copy.ts'
import type { BlobStore } from '../blob-store.ts'
import { openBlobs } from '../blobs.ts'
import { openStorage, type Storage } from '../storage.ts'
import { S3Bucket } from './bucket.ts'
import { Copies } from './copies.ts'
import { s3Location } from './location.ts'
import { blobKey, Retention } from './retention.ts'

const HOUR_MS = 3_600_000
/** By digest: a comparison of megabytes that fails would take hours to print. */
const digestIn = async (blobs: BlobStore, digest: Digest) => digestOf(await buffer(await blobs.open(digest)))

/** Four parts, the last one short. */
const LARGE = randomBytes(3 * 2 ** 23 + 12_345)
const LARGE_DIGEST = digestOf(LARGE)

describe.skipIf(!hasSeaweed)(`blobs in a bucket${WITHOUT_SEAWEED}`, () => {
  let server: TestS3
  let proxy: S3Proxy
  let root: string
  let count = 0
  /** Where this test's blobs are in the bucket, and on this machine. */
  let prefix: string

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 's3-blobs-'))
    server = await TestS3.start()
    await server.makeBucket('blobs')
    proxy = await S3Proxy.start(server.port)
  })

  afterAll(async () => {
    await proxy?.close()
    await server?.stop()
    await rm(root, { recursive: true, force: true })
  })

  beforeEach(() => {
    prefix = `test-${++count}`
  })

  afterEach(() => {
    proxy.treat = () => 'pass'
  })

  /** As another machine opens it when `machine` is another. */
  const open = async (machine = 'a'): Promise<Storage['blobs']> => (await openWith({ machine })).blobs
  const openWith = ({ machine = 'a', bucket = 'blobs', port = proxy.port, more = '' }): Promise<Storage> =>
    openStorage(server.setting(bucket, prefix, port) + more, { blobs: join(root, 'unused'), spool: spool(machine) })
  const spool = (machine = 'a') => join(root, `${prefix}-${machine}`)
  const object = (digest: Digest) => ({ Bucket: 'blobs', Key: `${prefix}/${blobKey(digest)}` })
  /** Puts other bytes under a digest, as no honest process does. */
  const spoil = (digest: Digest, bytes: Uint8Array) =>
    server.client().send(new PutObjectCommand({ ...object(digest), Body: bytes }))
  const bucket = () => new S3Bucket(server.client(), s3Location(server.setting('blobs', prefix)))

  describe('keep the contract', () => {
    let stores: { readonly blobs: Storage['blobs']; readonly other: Storage['blobs'] }
    beforeEach(async () => {
      stores = { blobs: await open(), other: await open() }
    })
    blobContract(() => stores)
  })

  describe('a storage is refused at the start', () => {
    const refused = (options: Parameters<typeof openWith>[0], code = 'FAILED_PRECONDITION') =>
      expect(openWith(options)).rejects.toMatchObject({ code, hint: expect.any(String) })

    it('without the bucket', () => refused({ bucket: 'nobody-made-this' }))

    it('when nothing answers', () => refused({ port: 1 }, 'UNAVAILABLE'))

    it.each([
      ['a wrong secret', { AWS_SECRET_ACCESS_KEY: 'wrong' }],
      ['an unknown key', { AWS_ACCESS_KEY_ID: 'unknown' }],
      ['credentials that may only read', S3_READER],
    ])('for %s, which it does not repeat', async (_, credentials) => {
      Object.assign(process.env, credentials)
      try {
        const error = await openWith({}).catch((thrown: Error) => thrown)
        expect(error).toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('s3://blobs/') })
        for (const secret of Object.values(credentials)) expect(String(error)).not.toContain(secret)
      } finally {
        Object.assign(process.env, S3_CREDENTIALS)
      }
    })

    it.each([
      ['a page', 200, '<html><body>Welcome</body></html>'],
      ['an error of its own', 404, '<html><body>Not here</body></html>'],
      ['JSON', 200, '{"status":"ok"}'],
      ['nothing', 200, ''],
    ])('when the endpoint is a web server that answers with %s', async (_, status, body) => {
      const web = createServer((request, response) => {
        request.resume()
        response.writeHead(status, { 'Content-Type': 'text/html' }).end(body)
      }).listen(0, '127.0.0.1')
      await new Promise((resolve) => web.once('listening', resolve))
      const address = web.address()
      try {
        await refused({ port: typeof address === 'object' ? (address?.port ?? 0) : 0 })
      } finally {
        web.close()
      }
    })
  })

  describe('while the bucket is away', () => {
    it.each(['no-bucket', 'unavailable'] as const)(
      'everything says so and goes on afterwards: %s',
      async (treatment) => {
        const { blobs, probe } = await openWith({})
        const bytes = Buffer.from('what was there before')
        const { digest } = await blobs.put(bytes)
        proxy.treat = () => treatment
        const away = { code: 'UNAVAILABLE', retryMs: expect.any(Number) }
        const absent = digestOf('absent')
        for (const asked of [
          () => blobs.check(),
          () => blobs.stat(digest),
          // Not "there is none": its node would send it again, and others would miss it.
          () => blobs.has(absent),
          () => blobs.renew(digest),
          () => blobs.localPath(digest),
          () => blobs.put(Buffer.from('new')),
          () => blobs.removeOld(digest, Date.now()),
          () => blobs.remove(digest),
          () => blobs.append(LARGE_DIGEST, 0, LARGE.byteLength, LARGE),
        ]) {
          await expect(asked()).rejects.toMatchObject(away)
        }
        await expect(probe()).rejects.toMatchObject({
          code: expect.stringMatching(/^(UNAVAILABLE|FAILED_PRECONDITION)$/),
        })
        proxy.treat = () => 'pass'
        await blobs.check()
        expect(await blobs.has(absent)).toBe(false)
        // All its bytes were taken, so nothing has to be sent again.
        expect(await blobs.partial(LARGE_DIGEST)).toBe(LARGE.byteLength)
        expect(await blobs.complete(LARGE_DIGEST, LARGE.byteLength)).toMatchObject({ ok: true })
        expect(await digestIn(await open('b'), LARGE_DIGEST)).toBe(LARGE_DIGEST)
      },
    )
  })

  describe('a large blob', () => {
    const sent = (request: IncomingMessage) => request.method === 'PUT' && /[?&]partNumber=/.test(request.url ?? '')

    it('goes in parts, and after a break only those that are missing', async () => {
      const blobs = await open()
      proxy.treat = (request) => (sent(request) && /partNumber=4/.test(request.url ?? '') ? 'unavailable' : 'pass')
      await expect(blobs.put(LARGE)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
      expect(await blobs.has(LARGE_DIGEST)).toBe(false)
      proxy.treat = () => 'pass'
      const from = proxy.seen.length
      expect(await (await open()).put(LARGE)).toEqual({ digest: LARGE_DIGEST, size: LARGE.byteLength })
      const again = proxy.seen.slice(from).filter((line) => /^PUT .*[?&]partNumber=/.test(line))
      expect(again).toHaveLength(1)
      expect(await digestIn(await open('b'), LARGE_DIGEST)).toBe(LARGE_DIGEST)
      // Kept by the server beside the bytes: of all parts together.
      const { ChecksumSHA256: checksum } = await server
        .client()
        .send(new HeadObjectCommand({ ...object(LARGE_DIGEST), ChecksumMode: 'ENABLED' }))
      expect(checksum).toMatch(/-4$/)
    })

    it('is one object when two machines put it at the same time', async () => {
      const stores = await Promise.all([open('a'), open('b')])
      await Promise.all(stores.map((blobs) => blobs.put(LARGE)))
      expect(await digestIn(await open('c'), LARGE_DIGEST)).toBe(LARGE_DIGEST)
    })

    it('is fetched from where a connection was cut', async () => {
      await (await open('a')).put(LARGE)
      const far = await open('b')
      let cuts = 3
      proxy.treat = ({ method, url }) =>
        method === 'GET' && url?.includes(hexOf(LARGE_DIGEST)) && cuts-- > 0 ? 'cut' : 'pass'
      expect(await digestIn(far, LARGE_DIGEST)).toBe(LARGE_DIGEST)
      expect(cuts).toBeLessThan(0)
    })
  })

  describe('an object under a digest', () => {
    it.each([
      ['other bytes', Buffer.from('the quick brown cat')],
      ['fewer bytes', Buffer.from('the quick')],
      ['no bytes', Buffer.alloc(0)],
    ])('with %s is nobody’s blob', async (_, bytes) => {
      const honest = Buffer.from('the quick brown fox')
      const { digest } = await (await open('a')).put(honest)
      await spoil(digest, bytes)
      const far = await open('b')
      await expect(far.localPath(digest)).rejects.toMatchObject({ code: 'DATA_INVALID', hint: expect.any(String) })
      await expect(far.open(digest)).rejects.toMatchObject({ code: 'DATA_INVALID' })
      // Whoever has the bytes mends what is too short by storing it again.
      if (bytes.byteLength === honest.byteLength) return
      await far.put(honest)
      expect(await buffer(await (await open('c')).open(digest))).toEqual(honest)
    })
  })

  describe('deleting what nobody refers to', () => {
    const bytes = Buffer.from('is anybody about to refer to this?')
    const future = () => Date.now() + HOUR_MS

    it('waits for nobody, and a renewal waits for it', async () => {
      const blobs = await open()
      const { digest } = await blobs.put(bytes)
      const mark = `condemned/${hexOf(digest).slice(0, 2)}/${hexOf(digest)}`
      const [content, retention] = [
        { bytes: new Uint8Array(), sha256: digestBase64(new Uint8Array()) },
        new Retention(bucket()),
      ]
      await bucket().write(mark, content, false)
      // Somebody else is at it.
      expect(await blobs.removeOld(digest, future())).toBe(false)
      let renewed = false
      const renewing = retention.renew(digest).then(() => {
        renewed = true
      })
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(renewed).toBe(false)
      await bucket().remove(mark)
      await renewing
    })

    it('leaves every blob that was renewed before it went, at whatever moment', async () => {
      const blobs = await open('a')
      const far = await open('b')
      const rounds = Array.from({ length: 6 }, (_, round) => blobs.put(Buffer.from(`round ${round}`)))
      const stored = await Promise.all(rounds)
      await new Promise((resolve) => setTimeout(resolve, 2_100))
      const before = Date.now()
      for (const { digest } of stored) {
        const wait = () => new Promise((resolve) => setTimeout(resolve, Math.random() * 30))
        const [removed, renewed] = await Promise.all([
          wait().then(() => blobs.removeOld(digest, before)),
          wait().then(() => far.renew(digest)),
        ])
        // Never "renewed" and yet gone.
        if (renewed !== undefined) expect(removed).toBe(false)
        expect(await far.has(digest)).toBe(!removed)
      }
    })
  })

  describe('copies on this machine', () => {
    const small = () => randomBytes(400_000)

    it('are removed beyond what they may have, those that nobody asked for first', async () => {
      const { blobs } = await openWith({ more: '&cache=1MiB' })
      const stored: Digest[] = []
      for (let i = 0; i < 4; i++) stored.push((await blobs.put(small())).digest)
      const here = async () => {
        const found = await listBlobs(spool())
        return stored.filter((digest) => found.some((file) => file.digest === digest))
      }
      const location = s3Location(`${server.setting('blobs', prefix)}&cache=1MiB`)
      const copies = new Copies(await openBlobs(spool()), spool(), new S3Bucket(server.client(), location))
      await copies.trim()
      // All were just used.
      expect(await here()).toHaveLength(4)
      for (const [index, digest] of stored.entries()) {
        const used = new Date(Date.now() - (index === 3 ? 0 : 30 * HOUR_MS))
        await utimes(blobPath(spool(), digest), used, used)
      }
      await copies.trim()
      expect(await here()).toHaveLength(2)
      expect(await here()).toContain(stored[3])
      for (const digest of stored) expect(await digestIn(blobs, digest)).toBe(digest)
    })

    it('follow what others have deleted, and forget uploads that went on elsewhere', async () => {
      const here = await open('a')
      const [gone, kept] = [await here.put(small()), await here.put(small())]
      await here.append(LARGE_DIGEST, 0, LARGE.byteLength, LARGE.subarray(0, 1000))
      await (await open('b')).remove(gone.digest)
      const old = new Date(Date.now() - 25 * HOUR_MS)
      for (const { digest } of [gone, kept]) await utimes(blobPath(spool(), digest), old, old)
      await utimes(join(spool(), 'partial', hexOf(LARGE_DIGEST), 'idle'), old, old)
      const local = await openBlobs(spool())
      await new Copies(local, spool(), bucket()).tidy()
      expect(await local.has(gone.digest)).toBe(false)
      expect(await local.has(kept.digest)).toBe(true)
      expect(await local.partial(LARGE_DIGEST)).toBe(0)
    })
  })
})

function digestBase64(bytes: Uint8Array): string {
  return Buffer.from(hexOf(digestOf(bytes)), 'hex').toString('base64')
}
