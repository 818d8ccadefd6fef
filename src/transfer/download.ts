import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../core/clock.ts'
import { type Digest, hexOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { fileBlocks } from '../core/file-blocks.ts'
import { Pace } from '../core/pace.ts'
import type { BlobStore } from '../store/blob-store.ts'
import type { Caller, NodePrincipal, OperatorPrincipal } from '../store/principal.ts'
import type { Reader } from '../store/reader.ts'
import { soon } from '../store/soon.ts'
import { mayRead } from '../store/visibility.ts'
import { sendProblem } from './problem.ts'
import { chooseRange, type Span } from './range.ts'

export type DownloadContext = {
  readonly store: { readonly reader: Pick<Reader, 'isReleased' | 'isCandidate' | 'payloadOwners' | 'isReviewer'> }
  readonly blobs: Pick<BlobStore, 'stat' | 'localPath'>
  readonly clock: Clock
  readonly config: { readonly minBytesPerSecond: number }
}

/** Read and sent at once. */
const BLOCK_BYTES = 512 * 1024

/**
 * Sends an artifact, or the range of it that was asked for, to whom it is visible; others do not learn that it exists.
 * @throws TapestryError UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND.
 */
export async function sendArtifact(
  ctx: DownloadContext,
  caller: Caller,
  digest: Digest,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const released = await ctx.store.reader.isReleased(digest)
  const visible = released || (await mayRead(ctx.store.reader, requireMember(caller), digest))
  const blob = visible ? await ctx.blobs.stat(digest) : undefined
  if (!blob) throw new TapestryError('NOT_FOUND', `there is no artifact ${digest}`)
  const headers = headersOf(digest, released)
  if (matches(request.headers['if-none-match'], headers.ETag)) return void response.writeHead(304, headers).end()
  // Bytes under a digest never change, so a range is good for every copy that the same address gave.
  const stale = request.headers['if-range'] !== undefined && request.headers['if-range'] !== headers.ETag
  const range = chooseRange(stale ? undefined : request.headers.range, blob.size)
  if (range.kind === 'unsatisfiable') {
    const past = { 'Content-Range': `bytes */${blob.size}` }
    return sendProblem(response, { status: 416, code: 'INVALID_ARGUMENT', detail: 'no such bytes', headers: past })
  }
  const span = range.kind === 'span' ? range : { start: 0, end: blob.size - 1 }
  // First, because it may have to be fetched, and may fail: after the head nothing can be said any more.
  const path = request.method === 'HEAD' ? '' : await soon(ctx.blobs.localPath(digest), 'this artifact')
  response.writeHead(range.kind === 'span' ? 206 : 200, {
    ...headers,
    'Content-Type': 'application/octet-stream',
    'Content-Length': span.end - span.start + 1,
    ...(range.kind === 'span' ? { 'Content-Range': `bytes ${span.start}-${span.end}/${blob.size}` } : {}),
  })
  if (request.method === 'HEAD' || blob.size === 0) return void response.end()
  await sendBytes(ctx, path, span, response)
}

/** Reads only as fast as the receiver takes it, and stops when it goes away or takes next to nothing. */
async function sendBytes(ctx: DownloadContext, path: string, span: Span, response: ServerResponse): Promise<void> {
  const pace = new Pace(ctx.config.minBytesPerSecond)
  let left = span.end - span.start + 1
  for await (const block of fileBlocks(path, { start: span.start, end: span.end + 1 }, BLOCK_BYTES)) {
    const from = ctx.clock.now()
    await write(response, block)
    pace.count(block.byteLength, ctx.clock.now() - from)
    left -= block.byteLength
  }
  if (left > 0) throw new TapestryError('INTERNAL', `${path} has become shorter`)
  response.end()
}

/** Resolves when the connection has taken the bytes, which may then be used again; rejects when it is gone. */
function write(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new TapestryError('UNAVAILABLE', 'the receiver went away'))
    if (response.destroyed) return gone()
    response.once('close', gone)
    response.write(bytes, (error) => {
      response.off('close', gone)
      if (error) reject(error)
      else resolve()
    })
  })
}

function headersOf(digest: Digest, released: boolean) {
  return {
    ETag: `"${digest}"`,
    'Accept-Ranges': 'bytes',
    'Cache-Control': released ? 'public, max-age=31536000, immutable' : 'private, no-store',
    // RFC 9530: for tools that check what they download.
    'Repr-Digest': `sha-256=:${Buffer.from(hexOf(digest), 'hex').toString('base64')}:`,
    'X-Content-Type-Options': 'nosniff',
  }
}

function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag)
}

function requireMember(caller: Caller): NodePrincipal | OperatorPrincipal {
  if (caller.kind === 'node' || caller.kind === 'operator') return caller
  if (caller.kind === 'barred') throw new TapestryError('PERMISSION_DENIED', `this node is ${caller.node.status}`)
  throw new TapestryError('UNAUTHENTICATED', 'only released files are open to anyone')
}
