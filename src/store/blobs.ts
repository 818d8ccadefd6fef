import { access, mkdir, open, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { type Digest, digestOf, ensureDigest, hexOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import type { Summary } from '../model/summary.ts'
import type { AppendResult, Blob, BlobStore, ByteRange, ByteSource, Whole } from './blob-store.ts'
import { probeDirectory } from './directory-probe.ts'
import { ifPresent, onDisk, settleFile } from './durable-file.ts'
import { ownedName, ownerIsGone } from './file-owner.ts'
import { takeIn } from './intake.ts'
import { PartialBlob } from './partial-blob.ts'
import { PassThreads } from './pass-threads.ts'
import type { Reading } from './reading.ts'
import { writeBehind } from './write-behind.ts'

/** Read-ahead of a download: larger pieces gain nothing, smaller ones cost a system call each. */
const READ_BYTES = 256 * 1024
/** Hashing this much takes less time than telling a thread. */
const SMALL_BYTES = 256 * 1024
/** For makers on other machines: no merge takes longer. */
const LONGEST_MAKING_MS = 24 * 3_600_000

/**
 * A blob store in a directory: `sha256/<2 hex>/<64 hex>` holds whole blobs, `partial/<64 hex>/`
 * unfinished ones, `scratch/` what is being made here, `condemned/` what is being deleted. All on one disk, because blobs move by renaming.
 */
export async function openBlobs(directory: string, { beatMs }: { readonly beatMs?: number } = {}): Promise<BlobStore> {
  const root = resolve(directory)
  for (const part of ['sha256', 'partial', 'scratch', 'condemned']) await mkdir(join(root, part), { recursive: true })
  await removeAbandoned(join(root, 'scratch'))
  const blobs = new DirectoryBlobs(root, beatMs)
  await blobs.reprieve()
  return blobs
}

/** All blobs of a process take turns on them. */
const threads = new PassThreads()

class DirectoryBlobs implements BlobStore {
  readonly #root: string
  readonly #beatMs: number | undefined

  constructor(root: string, beatMs: number | undefined) {
    this.#root = root
    this.#beatMs = beatMs
  }

  check(): Promise<void> {
    return probeDirectory(join(this.#root, 'scratch'))
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.stat(digest)) !== undefined
  }

  async stat(digest: Digest): Promise<Blob | undefined> {
    const found = await ifPresent(stat(this.#whole(digest)))
    return found === undefined ? undefined : { digest, size: found.size }
  }

  async open(digest: Digest, { start = 0, end }: ByteRange = {}): Promise<Readable> {
    const file = await ifPresent(open(this.#whole(digest), 'r'))
    if (file === undefined) throw notFound(digest)
    const { size } = await file.stat()
    const last = Math.min(end ?? size - 1, size - 1)
    if (!isRange(start, last, size)) {
      await file.close()
      throw new TapestryError(
        'INVALID_ARGUMENT',
        `the blob of ${size} bytes has no bytes ${start} to ${end ?? 'its end'}`,
      )
    }
    return file.createReadStream({ start, highWaterMark: READ_BYTES, ...(size === 0 ? {} : { end: last }) })
  }

  async localPath(digest: Digest): Promise<string> {
    const path = this.#whole(digest)
    if ((await ifPresent(access(path).then(() => true))) === undefined) throw notFound(digest)
    return path
  }

  async put(source: ByteSource): Promise<Blob> {
    const path = join(this.#root, 'scratch', ownedName())
    try {
      return await onDisk(async () => {
        const { digest, bytes } = await writeNew(path, source)
        await this.#settle(path, digest)
        return { digest, size: bytes }
      })
    } finally {
      await rm(path, { force: true })
    }
  }

  async adopt(path: string): Promise<Blob> {
    const { digest, bytes } = await threads.read(path, false)
    await onDisk(() => this.#settle(path, digest))
    return { digest, size: bytes }
  }

  async summarize(digest: Digest): Promise<Summary> {
    const { summary } = await threads.read(await this.localPath(digest), true)
    if (summary === undefined) throw new TapestryError('INTERNAL', `nothing was learned about ${digest}`)
    return summary
  }

  async partial(digest: Digest): Promise<number> {
    return this.#partial(digest).size()
  }

  async append(digest: Digest, offset: number, size: number, source: ByteSource): Promise<AppendResult> {
    ensureExtent(offset, size)
    const result = await onDisk(() =>
      this.#partial(digest).claim(offset === 0, async (path) => {
        const { result: appended, reading } = await appendAt(path, offset, size, source)
        if (appended.kind !== 'appended' || appended.offset < size) return appended
        return asAppended(await this.#check(path, digest, reading))
      }),
    )
    return result ?? { kind: 'wrong-offset', offset: 0 }
  }

  async complete(digest: Digest, size: number): Promise<Verdict<Whole>> {
    const partial = this.#partial(digest)
    const verdict = await onDisk(() => partial.claim(false, (path) => this.#finish(path, digest, size)))
    if (verdict !== undefined) return verdict
    const whole = await this.stat(digest)
    if (whole === undefined) throw notFound(digest)
    return accept({ ...whole, summary: undefined })
  }

  async discard(digest: Digest): Promise<void> {
    await this.#partial(digest).claim(false, (path) => rm(path, { force: true }))
  }

  async renew(digest: Digest): Promise<Blob | undefined> {
    const now = new Date()
    await ifPresent(utimes(this.#whole(digest), now, now))
    return this.stat(digest)
  }

  async *old(before: number): AsyncGenerator<Blob> {
    const whole = join(this.#root, 'sha256')
    for (const part of await readdir(whole)) {
      for (const hex of await readdir(join(whole, part))) {
        const found = await ifPresent(stat(join(whole, part, hex)))
        if (found !== undefined && found.mtimeMs < before) {
          yield { digest: ensureDigest(`sha256:${hex}`), size: found.size }
        }
      }
    }
  }

  /** First out of everybody's reach, then judged: whoever renews it in between either comes in time or finds it gone. */
  async removeOld(digest: Digest, before: number): Promise<boolean> {
    const condemned = join(this.#root, 'condemned', hexOf(digest))
    if ((await ifPresent(rename(this.#whole(digest), condemned).then(() => true))) === undefined) return false
    const found = await ifPresent(stat(condemned))
    if (found === undefined || found.mtimeMs >= before) {
      await ifPresent(rename(condemned, this.#whole(digest)))
      return false
    }
    await rm(condemned, { force: true })
    return true
  }

  /** What a process that ended was about to delete is whole again. */
  async reprieve(): Promise<void> {
    const condemned = join(this.#root, 'condemned')
    for (const hex of await readdir(condemned)) {
      await ifPresent(rename(join(condemned, hex), this.#whole(ensureDigest(`sha256:${hex}`))))
    }
  }

  async remove(digest: Digest): Promise<void> {
    await rm(this.#whole(digest), { force: true })
  }

  async scratch(): Promise<string> {
    const path = join(this.#root, 'scratch', ownedName())
    await onDisk(() => mkdir(path))
    return path
  }

  async #finish(path: string, digest: Digest, size: number): Promise<Verdict<Whole>> {
    const kept = (await stat(path)).size
    if (kept === size || (await this.has(digest))) return this.#check(path, digest, undefined)
    if (kept < size) return reject('TRUNCATED', `${kept} of the ${size} bytes announced have arrived`)
    await rm(path, { force: true })
    return reject('TOO_LARGE', `${kept} bytes have arrived where ${size} were announced`)
  }

  /**
   * Makes a file with all its bytes a whole blob, or removes it: because its bytes are others, or because somebody made
   * the blob whole meanwhile.
   * @param reading what is known about the bytes; undefined: they are read.
   */
  async #check(path: string, digest: Digest, reading: Reading | undefined): Promise<Verdict<Whole>> {
    const whole = await this.renew(digest)
    if (whole !== undefined) {
      await rm(path, { force: true })
      return accept({ ...whole, summary: undefined })
    }
    const { digest: found, bytes, summary } = reading ?? (await threads.read(path, true))
    if (found === digest) {
      await settleFile(path, this.#whole(digest))
      return accept({ digest, size: bytes, summary })
    }
    await rm(path, { force: true })
    return reject('DIGEST_MISMATCH', `the bytes that arrived have the digest ${found}`)
  }

  /** Gives a file that was made here its address, unless the same bytes have it already. */
  async #settle(path: string, digest: Digest): Promise<void> {
    if (await this.renew(digest)) await rm(path, { force: true })
    else await settleFile(path, this.#whole(digest))
  }

  #whole(digest: Digest): string {
    const hex = hexOf(digest)
    return join(this.#root, 'sha256', hex.slice(0, 2), hex)
  }

  #partial(digest: Digest): PartialBlob {
    return new PartialBlob(join(this.#root, 'partial', hexOf(digest)), this.#beatMs)
  }
}

type Appended = { readonly result: AppendResult; readonly reading?: Reading }

/**
 * Appends where the file ends. What a failing source delivered is as durable as the rest before the failure goes on.
 * @returns also what is known about the bytes, when they are all here and came in one go.
 */
async function appendAt(path: string, offset: number, size: number, source: ByteSource): Promise<Appended> {
  const file = await open(path, 'r+')
  try {
    const kept = (await file.stat()).size
    if (kept !== offset) return { result: { kind: 'wrong-offset', offset: kept } }
    const task = { write: { file: file.fd, position: offset }, hash: offset === 0 }
    const pass = writeBehind(threads.begin(offset === 0 ? { ...task, summarize: size } : task), file)
    try {
      const { taken, overflow } = await takeIn(pass, size - offset, source)
      const result: AppendResult = { kind: overflow ? 'too-large' : 'appended', offset: offset + taken }
      return offset === 0 && taken === size && !overflow ? { result, reading: await pass.finish() } : { result }
    } finally {
      pass.drop()
      await pass.durable()
    }
  } finally {
    await file.close()
  }
}

function asAppended(verdict: Verdict<Whole>): AppendResult {
  return verdict.ok ? { kind: 'whole', blob: verdict.value } : { kind: 'refused', rejection: verdict.rejection }
}

async function writeNew(path: string, source: ByteSource): Promise<Reading> {
  if (source instanceof Uint8Array && source.byteLength <= SMALL_BYTES) {
    await writeFile(path, source, { flag: 'wx' })
    return { digest: digestOf(source), bytes: source.byteLength, summary: undefined }
  }
  const file = await open(path, 'wx')
  const pass = threads.begin({ write: { file: file.fd, position: 0 }, hash: true })
  try {
    await takeIn(pass, Number.MAX_SAFE_INTEGER, source)
    return await pass.finish()
  } finally {
    pass.drop()
    await file.close()
  }
}

async function removeAbandoned(scratch: string): Promise<void> {
  for (const name of await readdir(scratch)) {
    const path = join(scratch, name)
    const found = await ifPresent(stat(path))
    if (found !== undefined && ownerIsGone(name, Date.now() - found.mtimeMs, LONGEST_MAKING_MS))
      await rm(path, { recursive: true, force: true })
  }
}

/** An empty blob has one range: all of it. */
function isRange(start: number, last: number, size: number): boolean {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(last) || start < 0) return false
  return start <= last || (size === 0 && start === 0)
}

function ensureExtent(offset: number, size: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(size) && offset >= 0 && offset <= size) return
  throw new TapestryError('INVALID_ARGUMENT', `not an offset within a size: ${offset} of ${size}`)
}

function notFound(digest: Digest): TapestryError {
  return new TapestryError('NOT_FOUND', `there is no blob ${digest}`)
}
