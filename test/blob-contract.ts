import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { type Digest, digestOf } from '../src/core/digest.ts'
import type { BlobStore } from '../src/store/blob-store.ts'

const BYTES = Buffer.from('the quick brown fox jumps over the lazy dog')
const DIGEST = digestOf(BYTES)
const SIZE = BYTES.byteLength
/** Some servers round times down to a second. */
const MARGIN_MS = 2_000

/** Delivers some bytes and then fails, as a cut connection does. */
export async function* cutAfter(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
  throw new Error('connection cut')
}

/**
 * What every blob store keeps to, whatever is behind it.
 * @param stores the one under test, empty, and the same as another process on this machine sees it.
 */
export function blobContract(stores: () => { readonly blobs: BlobStore; readonly other: BlobStore }): void {
  const read = async (range?: { start?: number; end?: number }) =>
    (await buffer(await stores().blobs.open(DIGEST, range))).toString()

  describe('whole blobs', () => {
    it('are stored under their digest, and the same bytes once', async () => {
      const { blobs, other } = stores()
      await blobs.check()
      const stored = { digest: DIGEST, size: SIZE }
      expect(await blobs.put(BYTES)).toEqual(stored)
      expect(await other.put(Readable.from([BYTES.subarray(0, 7), BYTES.subarray(7)]))).toEqual(stored)
      expect(await other.stat(DIGEST)).toEqual(stored)
      expect(await read()).toBe(BYTES.toString())
    })

    it('may be larger than what is sent at once, and are the same for another process', async () => {
      const { blobs, other } = stores()
      const large = randomBytes(20_000_001)
      const { digest } = await blobs.put(Readable.from([large.subarray(0, 9_000_000), large.subarray(9_000_000)]))
      expect(digest).toBe(digestOf(large))
      expect(digestOf(await buffer(await other.open(digest)))).toBe(digest)
    })

    it('are made of finished files', async () => {
      const { blobs } = stores()
      const path = join(await blobs.scratch(), 'made')
      await writeFile(path, BYTES)
      expect(await blobs.adopt(path)).toEqual({ digest: DIGEST, size: SIZE })
      expect(await read()).toBe(BYTES.toString())
    })

    it('say what they hold', async () => {
      const { blobs } = stores()
      await blobs.put(BYTES)
      expect(await blobs.summarize(DIGEST)).toMatchObject({ kind: 'unreadable', rejection: { reason: 'MALFORMED' } })
      await expect(blobs.summarize(digestOf('nothing'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    })

    it('are not there when their source fails', async () => {
      const { blobs } = stores()
      await expect(blobs.put(cutAfter(BYTES))).rejects.toThrow('connection cut')
      expect(await blobs.has(DIGEST)).toBe(false)
    })

    it('are read in inclusive ranges, and not outside', async () => {
      const { blobs } = stores()
      await blobs.put(BYTES)
      expect(await read({ start: 4, end: 8 })).toBe('quick')
      expect(await read({ start: 40, end: 4000 })).toBe('dog')
      for (const start of [SIZE, -1, Number.NaN, 1.5]) {
        await expect(blobs.open(DIGEST, { start })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      }
      await expect(blobs.open(DIGEST, { start: 3, end: 2 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    })

    it('may be empty', async () => {
      const { blobs } = stores()
      const { digest } = await blobs.put(new Uint8Array())
      expect((await buffer(await blobs.open(digest))).byteLength).toBe(0)
    })

    it('are missed when they are not there, and removed twice without complaint', async () => {
      const { blobs } = stores()
      await expect(blobs.open(DIGEST)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await expect(blobs.localPath(DIGEST)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      expect(await blobs.renew(DIGEST)).toBeUndefined()
      await blobs.put(BYTES)
      const open = await blobs.open(DIGEST)
      await blobs.remove(DIGEST)
      await blobs.remove(DIGEST)
      expect(await blobs.has(DIGEST)).toBe(false)
      expect((await buffer(open)).byteLength).toBe(SIZE)
    })
  })

  describe('blobs that arrive in parts', () => {
    it('go on where the kept bytes end, in another process too', async () => {
      const { blobs, other } = stores()
      expect(await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))).toEqual({ kind: 'appended', offset: 10 })
      expect(await other.partial(DIGEST)).toBe(10)
      expect(await other.append(DIGEST, 10, SIZE, BYTES.subarray(10))).toMatchObject({
        kind: 'whole',
        blob: { digest: DIGEST, size: SIZE, summary: { kind: 'unreadable' } },
      })
      expect(await other.complete(DIGEST, SIZE)).toMatchObject({ ok: true })
      expect(await read()).toBe(BYTES.toString())
    })

    it('begin where the kept bytes end, and nowhere else', async () => {
      const { blobs } = stores()
      expect(await blobs.append(DIGEST, 5, SIZE, BYTES)).toEqual({ kind: 'wrong-offset', offset: 0 })
      await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
      expect(await blobs.append(DIGEST, 0, SIZE, BYTES)).toEqual({ kind: 'wrong-offset', offset: 10 })
      expect(await blobs.append(DIGEST, 11, SIZE, BYTES)).toEqual({ kind: 'wrong-offset', offset: 10 })
      expect(await blobs.partial(DIGEST)).toBe(10)
    })

    it('keep what arrived before the connection was cut', async () => {
      const { blobs } = stores()
      await expect(blobs.append(DIGEST, 0, SIZE, cutAfter(BYTES.subarray(0, 12)))).rejects.toThrow('connection cut')
      expect(await blobs.partial(DIGEST)).toBe(12)
      expect(await blobs.append(DIGEST, 12, SIZE, BYTES.subarray(12))).toMatchObject({ kind: 'whole' })
      expect(await blobs.complete(DIGEST, SIZE)).toMatchObject({ ok: true })
    })

    it('do not grow beyond the announced size', async () => {
      const { blobs } = stores()
      expect(await blobs.append(DIGEST, 0, 10, BYTES)).toEqual({ kind: 'too-large', offset: 10 })
      expect(await blobs.partial(DIGEST)).toBe(10)
      for (const [offset, size] of [
        [11, 10],
        [-1, 10],
        [0, Number.NaN],
        [0, 2 ** 60],
      ] as const) {
        await expect(blobs.append(DIGEST, offset, size, BYTES)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      }
    })

    it('are kept while bytes are missing, and deleted when they are wrong', async () => {
      const { blobs } = stores()
      await expect(blobs.complete(DIGEST, SIZE)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
      expect(await blobs.complete(DIGEST, SIZE)).toMatchObject({ ok: false, rejection: { reason: 'TRUNCATED' } })
      expect(await blobs.partial(DIGEST)).toBe(10)
      expect(await blobs.append(DIGEST, 10, SIZE, Buffer.alloc(SIZE - 10))).toMatchObject({
        kind: 'refused',
        rejection: { reason: 'DIGEST_MISMATCH' },
      })
      expect(await blobs.partial(DIGEST)).toBe(0)
      expect(await blobs.has(DIGEST)).toBe(false)
    })

    it('are forgotten on request, also when there are none', async () => {
      const { blobs } = stores()
      await blobs.discard(DIGEST)
      await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
      await blobs.discard(DIGEST)
      expect(await blobs.partial(DIGEST)).toBe(0)
    })

    it('name a full disk', async () => {
      const { blobs } = stores()
      const full = async function* () {
        yield BYTES
        throw Object.assign(new Error('write'), { code: 'ENOSPC' })
      }
      await expect(blobs.append(DIGEST, 0, SIZE, full())).rejects.toMatchObject({ code: 'DISK_FULL' })
      await expect(blobs.put(full())).rejects.toMatchObject({ code: 'DISK_FULL' })
    })

    it('end whole and right when many send at once', async () => {
      const { blobs, other } = stores()
      const bytes = randomBytes(100_000)
      const digest = digestOf(bytes)
      const send = async (store: BlobStore) => {
        for (;;) {
          try {
            if (await store.has(digest)) return
            const offset = await store.partial(digest)
            await store.append(digest, offset, bytes.byteLength, bytes.subarray(offset, offset + 7_001))
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^(UNAVAILABLE|NOT_FOUND)$/) })
            await new Promise((resolve) => setImmediate(resolve))
          }
        }
      }
      await Promise.all([send(blobs), send(other), send(blobs), send(other)])
      expect(digestOf(await buffer(await blobs.open(digest)))).toBe(digest)
    })
  })

  describe('blobs that nobody renews', () => {
    it('are listed, and deleted; those that are renewed are not', async () => {
      const { blobs, other } = stores()
      const kept = await blobs.put(BYTES)
      const old = await blobs.put(Buffer.from('nobody refers to this'))
      await new Promise((resolve) => setTimeout(resolve, MARGIN_MS))
      const before = Date.now()
      const listed = async (until: number) => {
        const digests: Digest[] = []
        for await (const { digest } of blobs.old(until)) digests.push(digest)
        return digests.sort()
      }
      expect(await listed(before)).toEqual([kept.digest, old.digest].sort())
      expect(await listed(before - 3_600_000)).toEqual([])
      expect(await other.renew(kept.digest)).toEqual(kept)
      expect(await listed(before)).toEqual([old.digest])
      expect(await blobs.removeOld(kept.digest, before)).toBe(false)
      expect(await blobs.removeOld(old.digest, before)).toBe(true)
      expect(await blobs.removeOld(old.digest, before)).toBe(false)
      expect(await listed(Number.POSITIVE_INFINITY)).toEqual([kept.digest])
      expect(await other.has(old.digest)).toBe(false)
    })
  })
}
