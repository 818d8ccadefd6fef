import type { Readable } from 'node:stream'
import type { Digest } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import { accept, type Verdict } from '../../core/rejection.ts'
import type { Summary } from '../../model/summary.ts'
import type { AppendResult, Blob, BlobStore, ByteRange, ByteSource, Whole } from '../blob-store.ts'
import { soon } from '../soon.ts'
import type { S3Bucket } from './bucket.ts'
import { checkBucket } from './check.ts'
import type { Copies } from './copies.ts'
import { blobKey, type Retention } from './retention.ts'
import { uploadFile } from './upload.ts'

/** Of puts of one blob that others undo. */
const MOST_PUTS = 3

export type S3Parts = {
  readonly bucket: S3Bucket
  readonly retention: Retention
  /** Where blobs arrive and are made, and the copies of others lie: a directory of this machine's. */
  readonly local: BlobStore
  readonly copies: Copies
}

/**
 * Blobs in a bucket. What arrives or is made is first a whole, verified blob in a directory here, then put into the bucket; only
 * then is it whole to anybody. What is read is fetched into that directory once, and verified.
 */
export class S3Blobs implements BlobStore {
  readonly #bucket: S3Bucket
  readonly #retention: Retention
  readonly #local: BlobStore
  readonly #copies: Copies
  readonly #putting = new Map<Digest, Promise<void>>()

  constructor({ bucket, retention, local, copies }: S3Parts) {
    this.#bucket = bucket
    this.#retention = retention
    this.#local = local
    this.#copies = copies
  }

  check(): Promise<void> {
    return checkBucket(this.#bucket)
  }

  async has(digest: Digest): Promise<boolean> {
    return (await this.stat(digest)) !== undefined
  }

  async stat(digest: Digest): Promise<Blob | undefined> {
    const found = await this.#bucket.find(blobKey(digest))
    return found === undefined ? undefined : { digest, size: found.size }
  }

  async open(digest: Digest, range?: ByteRange): Promise<Readable> {
    await this.localPath(digest)
    return this.#local.open(digest, range)
  }

  async localPath(digest: Digest): Promise<string> {
    const found = await this.stat(digest)
    if (found === undefined) throw new TapestryError('NOT_FOUND', `there is no blob ${digest}`)
    return this.#copies.path(digest, found.size)
  }

  async put(source: ByteSource): Promise<Blob> {
    const blob = await this.#local.put(source)
    await this.#store(blob)
    return blob
  }

  async adopt(path: string): Promise<Blob> {
    const blob = await this.#local.adopt(path)
    await this.#store(blob)
    return blob
  }

  async summarize(digest: Digest): Promise<Summary> {
    await this.localPath(digest)
    return this.#local.summarize(digest)
  }

  /** A blob that is whole here and not yet in the bucket has all its bytes: they need only be completed. */
  async partial(digest: Digest): Promise<number> {
    return (await this.#local.stat(digest))?.size ?? this.#local.partial(digest)
  }

  async append(digest: Digest, offset: number, size: number, source: ByteSource): Promise<AppendResult> {
    const here = await this.#local.renew(digest)
    if (here !== undefined) {
      await this.#storeSoon(here)
      return { kind: 'whole', blob: { ...here, summary: undefined } }
    }
    const result = await this.#local.append(digest, offset, size, source)
    if (result.kind === 'whole') await this.#storeSoon(result.blob)
    return result
  }

  async complete(digest: Digest, size: number): Promise<Verdict<Whole>> {
    const here = await this.#local.renew(digest)
    if (here === undefined) {
      const there = await this.renew(digest)
      if (there !== undefined) return accept({ ...there, summary: undefined })
    }
    const verdict =
      here === undefined ? await this.#local.complete(digest, size) : accept({ ...here, summary: undefined })
    if (verdict.ok) await this.#storeSoon(verdict.value)
    return verdict
  }

  discard(digest: Digest): Promise<void> {
    return this.#local.discard(digest)
  }

  async renew(digest: Digest): Promise<Blob | undefined> {
    // Most that are asked for are not there: they need no mark.
    if (!(await this.has(digest))) return undefined
    await this.#retention.renew(digest)
    return this.stat(digest)
  }

  old(before: number): AsyncIterable<Blob> {
    return this.#retention.old(before)
  }

  async removeOld(digest: Digest, before: number): Promise<boolean> {
    const removed = await this.#retention.removeOld(digest, before)
    if (removed) await this.#local.remove(digest)
    return removed
  }

  async remove(digest: Digest): Promise<void> {
    await this.#retention.remove(digest)
    await this.#local.remove(digest)
  }

  scratch(): Promise<string> {
    return this.#local.scratch()
  }

  /** For senders, who come again while it goes on. */
  #storeSoon(blob: Blob): Promise<void> {
    return soon(this.#store(blob), 'this artifact')
  }

  /** Puts a blob that is whole here into the bucket. Resolves when it is whole there, and will not be collected for a while. */
  #store(blob: Blob): Promise<void> {
    const running = this.#putting.get(blob.digest)
    if (running !== undefined) return running
    const putting = this.#putUntilThere(blob).finally(() => this.#putting.delete(blob.digest))
    this.#putting.set(blob.digest, putting)
    return putting
  }

  async #putUntilThere({ digest, size }: Blob): Promise<void> {
    await this.#retention.renew(digest)
    for (let put = 0; ; put++) {
      const there = await this.#bucket.find(blobKey(digest))
      if (there?.size === size) break
      if (put === MOST_PUTS)
        throw new TapestryError('UNAVAILABLE', 'the blob storage does not keep what is put into it')
      // An object of another size is not these bytes, whoever put it there.
      await uploadFile(this.#bucket, blobKey(digest), await this.#local.localPath(digest), there !== undefined)
    }
    void this.#copies.trim()
  }
}
