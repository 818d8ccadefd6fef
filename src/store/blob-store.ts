import type { Readable } from 'node:stream'
import type { Digest } from '../core/digest.ts'
import type { Rejection, Verdict } from '../core/rejection.ts'
import type { Summary } from '../model/summary.ts'

/** A whole, verified blob. */
export type Blob = { readonly digest: Digest; readonly size: number }

/** A blob that has just become whole. `summary`: what its bytes hold; undefined when it was whole before. */
export type Whole = Blob & { readonly summary: Summary | undefined }

/** Byte positions, both inclusive as in HTTP ranges; `end` beyond the last byte means the last byte. */
export type ByteRange = { readonly start?: number; readonly end?: number }

/** Bytes at once or piece by piece. A piece is written before the next is asked for: that is the back-pressure. */
export type ByteSource = Uint8Array | AsyncIterable<Uint8Array>

/**
 * What an append did. `offset` is always the number of bytes that are durably kept: where the
 * next append has to begin.
 */
export type AppendResult =
  | { readonly kind: 'appended'; readonly offset: number }
  /** The append did not begin where the kept bytes end; nothing was written. */
  | { readonly kind: 'wrong-offset'; readonly offset: number }
  /** The source held more than the announced size; what fitted was kept. */
  | { readonly kind: 'too-large'; readonly offset: number }
  /** With these bytes the blob is whole, and its hash is right. */
  | { readonly kind: 'whole'; readonly blob: Whole }
  /** All bytes are here, and they are not what was announced: the partial is deleted. */
  | { readonly kind: 'refused'; readonly rejection: Rejection }

/**
 * Content-addressed bytes. What can be opened has been verified against its digest and never
 * changes; what is still arriving is apart and can be resumed after a crash of either side.
 * Several processes may use one store at the same time.
 */
export type BlobStore = {
  /** Whether it can be used now. @throws TapestryError UNAVAILABLE when it cannot; DISK_FULL. */
  check(): Promise<void>
  has(digest: Digest): Promise<boolean>
  /** Undefined when there is no whole blob with this digest. */
  stat(digest: Digest): Promise<Blob | undefined>
  /** @throws TapestryError NOT_FOUND without a whole blob; INVALID_ARGUMENT when `range.start` lies beyond its end. */
  open(digest: Digest, range?: ByteRange): Promise<Readable>
  /** A local file with the blob's bytes, for readers that want a path. Never write to it. @throws NOT_FOUND. */
  localPath(digest: Digest): Promise<string>
  /** Stores bytes that this process made and returns their address. Durable when it resolves. @throws DISK_FULL. */
  put(source: ByteSource): Promise<Blob>
  /** Makes a finished file of a {@link BlobStore.scratch} directory a blob, without copying it. Durable when it resolves. */
  adopt(path: string): Promise<Blob>
  /** Reads a whole blob and says what its bytes hold. @throws NOT_FOUND. */
  summarize(digest: Digest): Promise<Summary>
  /** Number of bytes of an unfinished blob that are durably kept; 0 when none is. Check `stat` first: a finished blob has no partial. */
  partial(digest: Digest): Promise<number>
  /**
   * Adds bytes to an unfinished blob and, with the last of them, checks its hash and makes it whole. A blob that comes
   * in one go is hashed and summarised while it is written; one that came in parts is read once more when it is whole.
   * Everything counted in the result's `offset` survives a crash.
   * When `source` fails (a cut connection) what arrived is kept and the failure is thrown.
   * @param offset where these bytes begin: must equal `partial(digest)`.
   * @param size announced size of the whole blob: nothing beyond it is written.
   * @throws TapestryError UNAVAILABLE while another writer holds this digest; DISK_FULL.
   */
  append(digest: Digest, offset: number, size: number, source: ByteSource): Promise<AppendResult>
  /**
   * Checks the hash of an unfinished blob whose bytes are all here and makes it whole: for who was ended between the
   * two. Repeating it is harmless.
   * Refuses with TRUNCATED (the partial is kept: send the rest) or DIGEST_MISMATCH (the partial is deleted).
   * @throws TapestryError UNAVAILABLE while another writer holds this digest; NOT_FOUND when nothing has arrived.
   */
  complete(digest: Digest, size: number): Promise<Verdict<Whole>>
  /** Forgets an unfinished blob. Harmless when there is none. @throws UNAVAILABLE while a writer holds it. */
  discard(digest: Digest): Promise<void>
  /**
   * Says that a whole blob is about to be referred to: {@link BlobStore.removeOld} leaves it alone for a while.
   * @returns undefined when there is none: what is gone has to be stored again.
   */
  renew(digest: Digest): Promise<Blob | undefined>
  /** Whole blobs that were neither made nor renewed since `before`, in milliseconds since the epoch. */
  old(before: number): AsyncIterable<Blob>
  /** Deletes a whole blob unless it was renewed since `before`. @returns whether it did. */
  removeOld(digest: Digest, before: number): Promise<boolean>
  /** Deletes a whole blob. Streams that are open go on. Harmless when there is none. */
  remove(digest: Digest): Promise<void>
  /** A new, empty local directory on the same disk, for large files in the making. Its user removes it; what a crash leaves is removed later. */
  scratch(): Promise<string>
}
