import { setTimeout as delay } from 'node:timers/promises'
import { type Digest, ensureDigest, hexOf } from '../../core/digest.ts'
import { TapestryError } from '../../core/error.ts'
import type { Blob } from '../blob-store.ts'
import type { S3Bucket, S3Object } from './bucket.ts'
import { contentOf } from './upload.ts'

/** Whoever deletes a blob is done within this, or leaves it. */
const DELETION_MS = 30_000
/** So much later a mark of deletion is one that a process which ended has left, whatever the clocks. */
const STALE_MS = 10 * 60_000
/** A deletion takes some tens of milliseconds. */
const PATIENCE_MS = 10_000
const POLL_MS = 200
/** Servers round the time of an object down to a second. */
const ROUNDING_MS = 1_000

const NOTHING = contentOf(new Uint8Array())

/** The layout of a directory's blobs: what was in one can be copied into a bucket as it is. */
export const blobKey = (digest: Digest) => `sha256/${shelved(digest)}`
const renewalKey = (digest: Digest) => `renewed/${shelved(digest)}`
const condemnedKey = (digest: Digest) => `condemned/${shelved(digest)}`

/**
 * What keeps a blob that is about to be referred to from being deleted as garbage. A bucket has neither renaming nor times that
 * can be set, so each side leaves a mark before it looks for the other's: a renewal before the deletion's, the deletion
 * before the renewal's. S3 shows every write at once to all, so of two at the same time at least one sees the other, and
 * gives way: the deletion by not deleting, the renewal by waiting for the deletion's end.
 */
export class Retention {
  readonly #bucket: S3Bucket

  constructor(bucket: S3Bucket) {
    this.#bucket = bucket
  }

  /** From now on the blob is left alone, or it is gone already. @throws TapestryError UNAVAILABLE */
  async renew(digest: Digest): Promise<void> {
    await this.#bucket.write(renewalKey(digest), NOTHING, true)
    const from = Date.now()
    for (;;) {
      const condemned = await this.#bucket.find(condemnedKey(digest))
      if (condemned === undefined) return
      if (Date.now() - condemned.modified > STALE_MS) await this.#bucket.remove(condemned.key)
      else if (Date.now() - from > PATIENCE_MS) throw busy()
      else await delay(POLL_MS)
    }
  }

  /** Deletes a blob unless it was stored or renewed since `before`. @returns whether it did. */
  async removeOld(digest: Digest, before: number): Promise<boolean> {
    if (!(await this.#isOld(digest, before))) return false
    const from = Date.now()
    // One at a time: whoever took the other's mark away would uncover it.
    if (!(await this.#bucket.write(condemnedKey(digest), NOTHING, false))) return false
    try {
      // Only what is seen now counts: the mark is there.
      if (!(await this.#isOld(digest, before))) return false
      const left = DELETION_MS - (Date.now() - from)
      if (left <= 0) return false
      await this.#bucket.remove(blobKey(digest), left)
      await this.#bucket.remove(renewalKey(digest))
      return true
    } finally {
      await this.#bucket.remove(condemnedKey(digest))
    }
  }

  async remove(digest: Digest): Promise<void> {
    await this.#bucket.remove(blobKey(digest))
    await this.#bucket.remove(renewalKey(digest))
  }

  /** Blobs that were neither stored nor renewed since `before`. Both listings come in the order of the digests. */
  async *old(before: number): AsyncGenerator<Blob> {
    const renewals = this.#bucket.list('renewed/')
    let renewal = await renewals.next()
    for await (const { key, size, modified } of this.#bucket.list('sha256/')) {
      const digest = digestIn(key)
      if (digest === undefined) continue
      while (!renewal.done && renewal.value.key < renewalKey(digest)) renewal = await renewals.next()
      const renewed = !renewal.done && renewal.value.key === renewalKey(digest) ? renewal.value.modified : 0
      if (isBefore(Math.max(modified, renewed), before)) yield { digest, size }
    }
  }

  async #isOld(digest: Digest, before: number): Promise<boolean> {
    const isOld = (found: S3Object | undefined) => found !== undefined && isBefore(found.modified, before)
    if (!isOld(await this.#bucket.find(blobKey(digest)))) return false
    const renewal = await this.#bucket.find(renewalKey(digest))
    return renewal === undefined || isOld(renewal)
  }
}

function isBefore(modified: number, before: number): boolean {
  return modified + ROUNDING_MS <= before
}

function shelved(digest: Digest): string {
  const hex = hexOf(digest)
  return `${hex.slice(0, 2)}/${hex}`
}

function digestIn(key: string): Digest | undefined {
  const [, hex] = /^sha256\/[0-9a-f]{2}\/([0-9a-f]{64})$/.exec(key) ?? []
  return hex === undefined ? undefined : ensureDigest(`sha256:${hex}`)
}

function busy(): TapestryError {
  return new TapestryError('UNAVAILABLE', 'this artifact is being deleted', {
    hint: 'Try again in a moment.',
    retryMs: POLL_MS,
  })
}
