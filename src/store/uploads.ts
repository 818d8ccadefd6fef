import { statfs } from 'node:fs/promises'
import { assertNever } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId } from '../core/ids.ts'
import type { Rejection } from '../core/rejection.ts'
import { announce, ensureSameSize, finishUpload } from './announcements.ts'
import type { BlobStore, ByteSource, Whole } from './blob-store.ts'
import type { UploadRow } from './records.ts'
import { steady } from './steady.ts'
import type { Store } from './store.ts'

/** What uploads need: a Context, and how much room its blobs have. */
export type UploadContext = {
  readonly store: Pick<Store, 'reader' | 'transact'>
  readonly blobs: Pick<BlobStore, 'renew' | 'stat' | 'partial' | 'append' | 'complete' | 'discard'>
  readonly clock: Clock
  /** Free bytes where the blobs are kept, such as {@link freeBytesOf}. */
  readonly freeBytes: () => Promise<number>
  readonly config: {
    /** Largest single artifact, bytes. */
    readonly maxArtifactBytes: number
    /** Announced and unfinished uploads that one node may have. */
    readonly maxOpenUploads: number
    /** Announced and unfinished bytes that one node may have. */
    readonly maxOpenBytes: number
    /** Bytes that one node may announce for one round, finished or not. */
    readonly maxRoundBytes: number
    /** Slower senders and receivers are cut, bytes a second; 0: never. */
    readonly minBytesPerSecond: number
    /** Bytes that must stay free on the disk: the database shares it. */
    readonly minFreeBytes: number
  }
}

/**
 * Where an upload stands after a call. `offset` counts the bytes that are durably kept; a refused artifact is
 * forgotten, so its node may announce it again and begin anew.
 */
export type UploadState =
  | { readonly kind: 'open'; readonly offset: number; readonly size: number }
  | { readonly kind: 'complete'; readonly offset: number; readonly size: number }
  /** The bytes did not begin where the kept ones end: nothing was written. */
  | { readonly kind: 'wrong-offset'; readonly offset: number; readonly size: number }
  | { readonly kind: 'rejected'; readonly rejection: Rejection }

/** Bytes that this user may still write on the disk of a directory. @throws if the directory does not exist. */
export async function freeBytesOf(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

/** An upload that nobody announced again for this long makes room for others: its node has moved on to another round. */
const STALE_MS = 3_600_000

/**
 * Reserves room for an artifact and says how much of it is here already. Repeating it is how a sender resumes.
 * @param size whole size in bytes.
 * @throws TapestryError INVALID_ARGUMENT for a size below 1, or another size than announced before;
 *   TOO_LARGE for one above the limit; RESOURCE_EXHAUSTED for too many open uploads, or bytes for one round; DISK_FULL; FAILED_PRECONDITION
 *   while another node sends the same artifact.
 */
export async function announceUpload(
  ctx: UploadContext,
  node: NodeId,
  digest: Digest,
  size: number,
): Promise<UploadState> {
  await ensureSize(ctx, node, size)
  const whole = await finished(ctx, digest)
  if (whole) {
    ensureSameSize(whole.size, size)
    return whole
  }
  await reserve(ctx, { digest, size, node, createdAt: ctx.clock.now() })
  const offset = await ctx.blobs.partial(digest)
  await ensureRoom(ctx, size - offset)
  // All bytes arrived, but the process ended before their hash was checked.
  if (offset === size) return finish(ctx, node, digest, size)
  return { kind: 'open', offset, size }
}

/**
 * Adds bytes to an announced upload and, with the last of them, checks the hash. What arrives before `source` fails
 * is kept.
 * @param offset where the bytes begin in the artifact.
 * @throws TapestryError FAILED_PRECONDITION when the node has not announced it; UNAVAILABLE while the same artifact is
 *   being written; DISK_FULL; whatever `source` throws.
 */
export async function appendUpload(
  ctx: UploadContext,
  node: NodeId,
  digest: Digest,
  offset: number,
  source: ByteSource,
): Promise<UploadState> {
  const whole = await finished(ctx, digest)
  if (whole) return whole
  const { size } = await announcedUpload(ctx, node, digest)
  const bytes = steady(source, ctx.config.minBytesPerSecond, ctx.clock)
  const result = await ctx.blobs.append(digest, offset, size, bytes)
  switch (result.kind) {
    case 'wrong-offset':
      return { ...result, size }
    case 'too-large':
      return refuse(ctx, node, digest, { reason: 'TOO_LARGE', detail: `more than the ${size} bytes announced` })
    case 'appended':
      return { kind: 'open', offset: result.offset, size }
    case 'whole':
      return record(ctx, result.blob)
    case 'refused':
      return refuse(ctx, node, digest, result.rejection)
    default:
      return assertNever(result)
  }
}

/** The open upload of a node. @throws TapestryError FAILED_PRECONDITION when this node has not announced it. */
async function announcedUpload(ctx: Pick<UploadContext, 'store'>, node: NodeId, digest: Digest): Promise<UploadRow> {
  const upload = await ctx.store.reader.upload(digest)
  if (upload?.node === node) return upload
  throw new TapestryError('FAILED_PRECONDITION', `${digest} is not announced by this node`, {
    hint: 'call AnnounceArtifact first',
  })
}

/**
 * Checks that an upload is of the size that its node announced.
 * @throws TapestryError FAILED_PRECONDITION without an announcement; TOO_LARGE, which is counted, for a larger size,
 *   INVALID_ARGUMENT for a smaller one.
 */
export async function ensureAnnounced(ctx: UploadContext, node: NodeId, digest: Digest, size: number): Promise<void> {
  const announced = await announcedUpload(ctx, node, digest)
  if (announced.size === size) return
  const detail = `${announced.size} bytes were announced, not ${size}`
  if (size < announced.size) throw new TapestryError('INVALID_ARGUMENT', detail)
  await countRefusal(ctx, node, { reason: 'TOO_LARGE', detail })
  throw new TapestryError('TOO_LARGE', detail)
}

/** A whole blob's state; an announcement that outlived it is dropped. */
async function finished(ctx: UploadContext, digest: Digest): Promise<(UploadState & { size: number }) | undefined> {
  const blob = await ctx.blobs.renew(digest)
  if (!blob) return undefined
  if (await ctx.store.reader.upload(digest)) {
    await ctx.store.transact('forget-upload', (tx) => tx.removeUploads([digest]))
  }
  return { kind: 'complete', offset: blob.size, size: blob.size }
}

/** Checks the hash of an upload whose bytes were all here before. */
async function finish(ctx: UploadContext, node: NodeId, digest: Digest, size: number): Promise<UploadState> {
  const verdict = await ctx.blobs.complete(digest, size)
  if (!verdict.ok) return refuse(ctx, node, digest, verdict.rejection)
  return record(ctx, verdict.value)
}

/** The announcement ends, and what was learned about the bytes is kept. */
async function record(ctx: UploadContext, { digest, size, summary }: Whole): Promise<UploadState> {
  await finishUpload(ctx.store, { digest, summary, now: ctx.clock.now() })
  return { kind: 'complete', offset: size, size }
}

async function refuse(ctx: UploadContext, node: NodeId, digest: Digest, rejection: Rejection): Promise<UploadState> {
  await ctx.blobs.discard(digest)
  const at = ctx.clock.now()
  await ctx.store.transact('refuse-upload', async (tx) => {
    await tx.removeUploads([digest])
    await tx.createRejection({ key: null, node, kind: 'upload', ...rejection, at })
  })
  return { kind: 'rejected', rejection }
}

/** Counts what is refused before a byte of it is taken. */
async function countRefusal(ctx: UploadContext, node: NodeId, rejection: Rejection): Promise<void> {
  const at = ctx.clock.now()
  await ctx.store.transact('count-refusal', (tx) =>
    tx.createRejection({ key: null, node, kind: 'upload', ...rejection, at }),
  )
}

/** Announces, and where something stands in the way of that, once more after what of it has gone stale was discarded. */
async function reserve(ctx: UploadContext, row: UploadRow): Promise<void> {
  const { maxOpenUploads, maxOpenBytes, maxRoundBytes } = ctx.config
  const limits = { maxOpenUploads, maxOpenBytes, maxRoundBytes }
  const ask = (gone: readonly Digest[]) => announce(ctx.store, { row, gone, ...limits })
  const inTheWay = await ask([])
  if (inTheWay === undefined) return
  const gone = await discardStale(ctx, row, inTheWay.uploads)
  const still = gone.length === 0 ? inTheWay : await ask(gone)
  if (still !== undefined) throw still.refusal
}

/** @returns digests whose rows are to be removed. An upload that is being written to is in use, however old. */
async function discardStale(ctx: UploadContext, row: UploadRow, inTheWay: readonly UploadRow[]): Promise<Digest[]> {
  const gone: Digest[] = []
  for (const { digest, createdAt } of inTheWay) {
    if (row.createdAt - createdAt > STALE_MS && (await discardIdle(ctx, digest))) gone.push(digest)
  }
  return gone
}

async function discardIdle({ blobs }: UploadContext, digest: Digest): Promise<boolean> {
  try {
    await blobs.discard(digest)
    return true
  } catch (error) {
    if (error instanceof TapestryError && error.code === 'UNAVAILABLE') return false
    throw error
  }
}

async function ensureSize(ctx: UploadContext, node: NodeId, size: number): Promise<void> {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new TapestryError('INVALID_ARGUMENT', `not an artifact's size: ${size}`)
  }
  const { maxArtifactBytes } = ctx.config
  if (size <= maxArtifactBytes) return
  const detail = `an artifact may have ${maxArtifactBytes} bytes, not ${size}`
  await countRefusal(ctx, node, { reason: 'TOO_LARGE', detail })
  throw new TapestryError('TOO_LARGE', detail, { hint: 'the operator can raise maxArtifactBytes' })
}

async function ensureRoom({ freeBytes, config }: UploadContext, bytes: number): Promise<void> {
  if ((await freeBytes()) - bytes >= config.minFreeBytes) return
  throw new TapestryError('DISK_FULL', 'the coordinator has no room for this artifact', {
    hint: 'tell its operator',
    retryMs: FULL_DISK_RETRY_MS,
  })
}

/** A full disk is a person's to mend. */
const FULL_DISK_RETRY_MS = 60_000
