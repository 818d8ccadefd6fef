import { execFileSync, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { blobContract, cutAfter } from '../../test/blob-contract.ts'
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

async function read(): Promise<string> {
  return (await buffer(await blobs.open(DIGEST))).toString()
}

function partialPath(name: string): string {
  return join(directory, 'partial', hexOf(DIGEST), name)
}

/** Turns the idle partial into one that a process with this name holds. */
async function claimAs(owner: string): Promise<void> {
  await rename(partialPath('idle'), partialPath(owner))
}

describe('a directory of blobs keeps the contract', () => {
  let other: BlobStore
  beforeEach(async () => {
    other = await openBlobs(directory)
  })
  blobContract(() => ({ blobs, other }))
})

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

  it('leaves nothing behind when the source fails', async () => {
    await expect(blobs.put(cutAfter(BYTES))).rejects.toThrow('connection cut')
    expect(await readdir(join(directory, 'scratch'))).toEqual([])
    expect(await blobs.has(DIGEST)).toBe(false)
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
