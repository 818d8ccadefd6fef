import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keepUnchecked } from '../../test/partials.ts'
import { digestOf, hexOf } from '../core/digest.ts'
import type { BlobStore } from './blob-store.ts'
import { openBlobs } from './blobs.ts'
import { ownedName } from './file-owner.ts'

const BYTES = Buffer.from('the quick brown fox jumps over the lazy dog')
const DIGEST = digestOf(BYTES)
const SIZE = BYTES.byteLength

let directory: string
let blobs: BlobStore

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobs-'))
  blobs = await openBlobs(directory)
})

afterEach(() => rm(directory, { recursive: true, force: true }))

/** Makes a file look as if nobody had written to it for over a minute. */
async function age(path: string): Promise<void> {
  const old = new Date(Date.now() - 61_000)
  await utimes(path, old, old)
}

async function read(range?: { start?: number; end?: number }): Promise<string> {
  return (await buffer(await blobs.open(DIGEST, range))).toString()
}

/** Delivers some bytes and then fails, as a cut connection does. */
async function* cutAfter(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
  throw new Error('connection cut')
}

function partialPath(name: string): string {
  return join(directory, 'partial', hexOf(DIGEST), name)
}

/** Turns the idle partial into one that a process with this name holds. */
async function claimAs(owner: string): Promise<void> {
  await rename(partialPath('idle'), partialPath(owner))
}

describe('whole blobs', () => {
  it('stores bytes under their digest, and the same bytes once', async () => {
    expect(await blobs.put(BYTES)).toEqual({ digest: DIGEST, size: SIZE })
    expect(await blobs.put(Readable.from([BYTES.subarray(0, 7), BYTES.subarray(7)]))).toEqual({
      digest: DIGEST,
      size: SIZE,
    })
    expect(await blobs.stat(DIGEST)).toEqual({ digest: DIGEST, size: SIZE })
    expect(await readdir(join(directory, 'scratch'))).toEqual([])
    expect(await blobs.localPath(DIGEST)).toBe(join(directory, 'sha256', hexOf(DIGEST).slice(0, 2), hexOf(DIGEST)))
  })

  it('hashes a blob that is too large for the event loop the same way', async () => {
    const large = Buffer.alloc(3_000_001, 'tapestry')
    expect((await blobs.put(large)).digest).toBe(digestOf(large))
  })

  it('takes a finished file without copying it, and once', async () => {
    for (const name of ['first', 'again']) {
      const path = join(await blobs.scratch(), name)
      await writeFile(path, BYTES)
      const { ino } = await stat(path)
      expect(await blobs.adopt(path)).toEqual({ digest: DIGEST, size: SIZE })
      if (name === 'first') expect((await stat(await blobs.localPath(DIGEST))).ino).toBe(ino)
      await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
    }
    expect(await read()).toBe(BYTES.toString())
  })

  it('says what a blob holds', async () => {
    await blobs.put(BYTES)
    expect(await blobs.summarize(DIGEST)).toMatchObject({ kind: 'unreadable', rejection: { reason: 'MALFORMED' } })
    await expect(blobs.summarize(digestOf('nothing'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('leaves nothing behind when the source fails', async () => {
    await expect(blobs.put(cutAfter(BYTES))).rejects.toThrow('connection cut')
    expect(await readdir(join(directory, 'scratch'))).toEqual([])
    expect(await blobs.has(DIGEST)).toBe(false)
  })

  it('reads inclusive ranges and refuses those that lie outside', async () => {
    await blobs.put(BYTES)
    expect(await read({ start: 4, end: 8 })).toBe('quick')
    expect(await read({ start: 40, end: 4000 })).toBe('dog')
    for (const start of [SIZE, -1, Number.NaN, 1.5]) {
      await expect(blobs.open(DIGEST, { start })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    await expect(blobs.open(DIGEST, { start: 3, end: 2 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('holds the empty blob', async () => {
    const { digest } = await blobs.put(new Uint8Array())
    expect((await buffer(await blobs.open(digest))).byteLength).toBe(0)
  })

  it('says what is not there, and removes twice without complaint', async () => {
    await expect(blobs.open(DIGEST)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(blobs.localPath(DIGEST)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await blobs.put(BYTES)
    const open = await blobs.open(DIGEST)
    await blobs.remove(DIGEST)
    await blobs.remove(DIGEST)
    expect(await blobs.has(DIGEST)).toBe(false)
    expect((await buffer(open)).byteLength).toBe(SIZE)
  })
})

describe('blobs that arrive in parts', () => {
  it('resumes where the kept bytes end, in another process too', async () => {
    expect(await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))).toEqual({ kind: 'appended', offset: 10 })
    const later = await openBlobs(directory)
    expect(await later.partial(DIGEST)).toBe(10)
    expect(await later.append(DIGEST, 10, SIZE, BYTES.subarray(10))).toMatchObject({
      kind: 'whole',
      blob: { digest: DIGEST, size: SIZE, summary: { kind: 'unreadable' } },
    })
    expect(await later.complete(DIGEST, SIZE)).toMatchObject({ ok: true })
    expect(await read()).toBe(BYTES.toString())
    expect(await later.partial(DIGEST)).toBe(0)
    expect(await readdir(join(directory, 'partial'))).toEqual([])
  })

  it('refuses any other offset and writes nothing', async () => {
    expect(await blobs.append(DIGEST, 5, SIZE, BYTES)).toEqual({ kind: 'wrong-offset', offset: 0 })
    await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
    expect(await blobs.append(DIGEST, 0, SIZE, BYTES)).toEqual({ kind: 'wrong-offset', offset: 10 })
    expect(await blobs.append(DIGEST, 11, SIZE, BYTES)).toEqual({ kind: 'wrong-offset', offset: 10 })
    expect(await blobs.partial(DIGEST)).toBe(10)
  })

  it('keeps what arrived before the connection was cut', async () => {
    await expect(blobs.append(DIGEST, 0, SIZE, cutAfter(BYTES.subarray(0, 12)))).rejects.toThrow('connection cut')
    expect(await blobs.partial(DIGEST)).toBe(12)
    expect(await blobs.append(DIGEST, 12, SIZE, BYTES.subarray(12))).toMatchObject({ kind: 'whole' })
    expect(await blobs.complete(DIGEST, SIZE)).toMatchObject({ ok: true })
  })

  it('writes nothing beyond the announced size', async () => {
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

  it('keeps an incomplete blob and deletes a wrong one', async () => {
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

  it('checks what a process left that ended before it could', async () => {
    await keepUnchecked(directory, DIGEST, BYTES)
    expect(await blobs.complete(DIGEST, SIZE)).toMatchObject({ ok: true, value: { digest: DIGEST, size: SIZE } })
    expect(await read()).toBe(BYTES.toString())
    const wrong = digestOf('something else')
    await keepUnchecked(directory, wrong, BYTES)
    expect(await blobs.complete(wrong, SIZE)).toMatchObject({ ok: false, rejection: { reason: 'DIGEST_MISMATCH' } })
    expect(await blobs.partial(wrong)).toBe(0)
  })

  it('refuses what is longer than a later, smaller announcement', async () => {
    await keepUnchecked(directory, DIGEST, BYTES)
    expect(await blobs.complete(DIGEST, 10)).toMatchObject({ ok: false, rejection: { reason: 'TOO_LARGE' } })
    expect(await blobs.partial(DIGEST)).toBe(0)
  })

  it('forgets on request, also when there is nothing', async () => {
    await blobs.discard(DIGEST)
    await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
    await blobs.discard(DIGEST)
    expect(await blobs.partial(DIGEST)).toBe(0)
  })

  it('names a full disk', async () => {
    const full = async function* () {
      yield BYTES
      throw Object.assign(new Error('write'), { code: 'ENOSPC' })
    }
    await expect(blobs.append(DIGEST, 0, SIZE, full())).rejects.toMatchObject({ code: 'DISK_FULL' })
    await expect(blobs.put(full())).rejects.toMatchObject({ code: 'DISK_FULL' })
  })
})

describe('two writers of one blob', () => {
  it('lets one write while the other waits, whatever the other asks', async () => {
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    let begun = () => {}
    const writing = new Promise<void>((resolve) => {
      begun = resolve
    })
    const slow = async function* () {
      yield BYTES.subarray(0, 10)
      begun()
      await gate
      yield BYTES.subarray(10)
    }
    const first = blobs.append(DIGEST, 0, SIZE, slow())
    await writing
    const second = await openBlobs(directory)
    const busy = { code: 'UNAVAILABLE' }
    await expect(second.append(DIGEST, 10, SIZE, Buffer.alloc(5))).rejects.toMatchObject(busy)
    await expect(second.complete(DIGEST, SIZE)).rejects.toMatchObject(busy)
    await expect(second.discard(DIGEST)).rejects.toMatchObject(busy)
    release()
    expect(await first).toMatchObject({ kind: 'whole', blob: { digest: DIGEST } })
    expect(await second.complete(DIGEST, SIZE)).toMatchObject({ ok: true })
  })

  it('ends whole and right when many send at once', async () => {
    const bytes = randomBytes(200_000)
    const digest = digestOf(bytes)
    const send = async () => {
      for (;;) {
        try {
          if (await blobs.has(digest)) return
          const offset = await blobs.partial(digest)
          await blobs.append(digest, offset, bytes.byteLength, bytes.subarray(offset, offset + 7_001))
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(UNAVAILABLE|NOT_FOUND)$/) })
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
    }
    await Promise.all([send(), send(), send(), send()])
    expect(digestOf(await buffer(await blobs.open(digest)))).toBe(digest)
  })

  it('takes over from a writer that was killed', async () => {
    await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
    const sleeper = spawn('sleep', ['600'])
    const start = execFileSync('cut', ['-d', ' ', '-f', '22', `/proc/${sleeper.pid}/stat`], { encoding: 'utf8' }).trim()
    const host = ownedName().slice(0, 8)
    await claimAs(`${host}-${sleeper.pid}-${start}-0123456789ab`)
    await expect(blobs.append(DIGEST, 10, SIZE, BYTES.subarray(10))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const gone = new Promise((resolve) => sleeper.once('exit', resolve))
    sleeper.kill('SIGKILL')
    await gone
    expect(await blobs.append(DIGEST, 10, SIZE, BYTES.subarray(10))).toMatchObject({ kind: 'whole' })
    expect(await blobs.complete(DIGEST, SIZE)).toMatchObject({ ok: true })
  })

  it('is not fooled by a process that has the number of a killed one', async () => {
    await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
    await claimAs(`${ownedName().slice(0, 8)}-${process.pid}-1-0123456789ab`)
    expect(await blobs.append(DIGEST, 10, SIZE, BYTES.subarray(10))).toMatchObject({ kind: 'whole' })
  })

  it('leaves a writer on another machine alone until it has been silent for a minute', async () => {
    await blobs.append(DIGEST, 0, SIZE, BYTES.subarray(0, 10))
    const foreign = '00000000-1-1-0123456789ab'
    await claimAs(foreign)
    await expect(blobs.append(DIGEST, 10, SIZE, BYTES.subarray(10))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await age(partialPath(foreign))
    expect(await blobs.append(DIGEST, 10, SIZE, BYTES.subarray(10))).toMatchObject({ kind: 'whole' })
  })

  it('tells writers on other machines that it lives, however long its source is silent', async () => {
    const lively = await openBlobs(directory, { beatMs: 5 })
    const held = async () => partialPath((await readdir(join(directory, 'partial', hexOf(DIGEST))))[0] ?? '')
    async function* slow() {
      yield BYTES.subarray(0, 10)
      const path = await held()
      await age(path)
      while (Date.now() - (await stat(path)).mtimeMs > 30_000) await new Promise((resolve) => setTimeout(resolve, 5))
      yield BYTES.subarray(10)
    }
    expect(await lively.append(DIGEST, 0, SIZE, slow())).toMatchObject({ kind: 'whole' })
  })
})

describe('scratch directories', () => {
  it('are empty, apart, and cleared after their maker has died', async () => {
    const mine = await blobs.scratch()
    expect(await readdir(mine)).toEqual([])
    expect(await blobs.scratch()).not.toBe(mine)
    await writeFile(join(mine, 'candidate'), 'weights')
    const dead = join(directory, 'scratch', `${ownedName().slice(0, 8)}-4194303-1-0123456789ab`)
    await mkdir(dead)
    await openBlobs(directory)
    expect(await readdir(mine)).toEqual(['candidate'])
    expect(await readdir(join(directory, 'scratch'))).not.toContain(dead.split('/').at(-1))
  })
})
