import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Digest, fromHex } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import type { BlobStore } from '../blob-store.ts'
import { blobUsageOf } from '../blob-usage.ts'
import { ifPresent } from '../durable-file.ts'
import { IDLE } from '../partial-blob.ts'
import type { S3Bucket } from './bucket.ts'
import { blobKey } from './retention.ts'

/** Longer than anything reads a file after it was told where it is. */
const IN_USE_MS = 6 * 3_600_000
/** What is removed first, by how long nobody asked for it. */
const AGES_MS = [7 * 24 * 3_600_000, 24 * 3_600_000, IN_USE_MS]
/** A blob that is whole here and not in the bucket was deleted there, or its sender did not come back. */
const GONE_MS = 3_600_000
/** A day without a byte: the sender has moved on. */
const STALE_MS = 24 * 3_600_000
/** Cuts in a row without a byte between them. */
const MOST_CUTS = 5
const PAUSE_MS = 500

/** Copies of a bucket's blobs in a directory of this machine, each proved by its digest when it was made. */
export class Copies {
  readonly #local: BlobStore
  readonly #directory: string
  readonly #bucket: S3Bucket
  readonly #fetching = new Map<Digest, Promise<void>>()
  #trimming: Promise<void> | undefined

  constructor(local: BlobStore, directory: string, bucket: S3Bucket) {
    this.#local = local
    this.#directory = directory
    this.#bucket = bucket
  }

  /**
   * A file with the bytes of a blob that is in the bucket. It stays for some hours, however full the directory is.
   * @throws TapestryError UNAVAILABLE, DISK_FULL; DATA_INVALID when the object's bytes have another digest.
   */
  async path(digest: Digest, size: number): Promise<string> {
    if ((await this.#local.renew(digest)) === undefined) await this.#fetchOnce(digest, size)
    return this.#local.localPath(digest)
  }

  /** Makes room again when the copies have become more than they may. Never rejects; callers that come meanwhile share it. */
  trim(): Promise<void> {
    this.#trimming ??= this.#removeOldest()
      .catch(() => undefined)
      .finally(() => {
        this.#trimming = undefined
      })
    return this.#trimming
  }

  /**
   * Removes what other processes have taken out of the bucket, and uploads that their senders went on with elsewhere. Never rejects:
   * what was left over goes the next time.
   */
  async tidy(): Promise<void> {
    await Promise.allSettled([this.#removeGone(), this.#removeStale(), this.trim()])
  }

  async #removeGone(): Promise<void> {
    const before = Date.now() - GONE_MS
    for await (const { digest } of this.#local.old(before)) {
      if ((await this.#bucket.find(blobKey(digest))) === undefined) await this.#local.removeOld(digest, before)
    }
  }

  async #removeStale(): Promise<void> {
    const partials = join(this.#directory, 'partial')
    for (const hex of (await ifPresent(readdir(partials))) ?? []) {
      const found = await ifPresent(stat(join(partials, hex, IDLE)))
      if (found !== undefined && Date.now() - found.mtimeMs > STALE_MS) await this.#local.discard(fromHex(hex))
    }
  }

  #fetchOnce(digest: Digest, size: number): Promise<void> {
    const running = this.#fetching.get(digest)
    if (running !== undefined) return running
    const fetching = this.#fetch(digest, size).finally(() => this.#fetching.delete(digest))
    this.#fetching.set(digest, fetching)
    return fetching
  }

  async #fetch(digest: Digest, size: number): Promise<void> {
    const found = await this.#local.put(objectBytes(this.#bucket, blobKey(digest), size))
    void this.trim()
    if (found.digest === digest) return
    await this.#local.remove(found.digest)
    throw new TapestryError('DATA_INVALID', `the bytes that the bucket keeps as ${digest} are others`, {
      hint: 'put the object back from a backup or an older version (docs/OPERATIONS.md, S3 storage)',
    })
  }

  async #removeOldest(): Promise<void> {
    let { bytes } = await blobUsageOf(this.#directory)
    for (const age of AGES_MS) {
      const before = Date.now() - age
      for await (const { digest, size } of this.#local.old(before)) {
        if (bytes <= this.#bucket.location.cacheBytes) return
        if (await this.#local.removeOld(digest, before)) bytes -= size
      }
    }
  }
}

/**
 * An object's bytes, gone on with from where a connection was cut.
 * @throws TapestryError UNAVAILABLE when it is cut again and again; DATA_INVALID when it has fewer bytes; NOT_FOUND.
 */
export async function* objectBytes(bucket: S3Bucket, key: string, size: number): AsyncGenerator<Uint8Array> {
  let [at, cuts] = [0, 0]
  while (at < size) {
    try {
      for await (const piece of await bucket.read(key, at)) {
        at += piece.byteLength
        cuts = 0
        yield piece
      }
      if (at < size) cuts += 1
    } catch (error) {
      if (error instanceof TapestryError && error.code !== 'UNAVAILABLE') throw error
      cuts += 1
    }
    if (cuts > MOST_CUTS) throw new TapestryError('UNAVAILABLE', 'the blob storage breaks off what it sends')
    if (at < size) await delay(Math.random() * PAUSE_MS * 2 ** cuts)
  }
}
