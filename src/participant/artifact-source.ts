import { TapestryError } from '../core/error.ts'
import { ArtifactService } from '../gen/proto/tapestry/v1/artifact_pb.ts'
import { IDLE_MS } from './artifact.ts'
import type { Channel } from './channel.ts'
import { artifactRequest, HttpsFailure, httpsFailure, refusalOf, responseTo } from './https-request.ts'
import { safeNumber } from './wire.ts'

/** Bytes of an artifact from an offset on, and the size of the whole. */
export type Opened = {
  readonly offset: number
  readonly total: number
  readonly body: AsyncIterable<Uint8Array>
  /** Gives the connection back, read or not. */
  close(): void
}

/**
 * Asks for an artifact over HTTPS.
 * @returns undefined when the coordinator has nothing at or after `offset`.
 * @throws HttpsFailure; TapestryError NOT_FOUND and other refusals; the signal's reason.
 */
export async function openOverHttps(
  channel: Channel,
  digest: string,
  offset: number,
  signal: AbortSignal | undefined,
): Promise<Opened | undefined> {
  const headers: Record<string, string> = { 'Accept-Encoding': 'identity' }
  if (offset > 0) headers['Range'] = `bytes=${offset}-`
  const request = artifactRequest(channel.https, 'GET', digest, headers, signal)
  const answered = responseTo(request, signal)
  request.end()
  const response = await answered
  if (response.statusCode === 416) {
    response.resume()
    return undefined
  }
  const place = placeOf(response.statusCode, response.headers)
  if (place === undefined) throw await refusalOf(response)
  return { ...place, body: bodyOf(response, signal), close: () => response.destroy() }
}

function placeOf(
  status: number | undefined,
  headers: { readonly 'content-range'?: string | undefined; readonly 'content-length'?: string | undefined },
): { readonly offset: number; readonly total: number } | undefined {
  if (status === 200 && headers['content-length'] !== undefined) {
    return { offset: 0, total: whole(headers['content-length']) }
  }
  const [, start, total] = /^bytes (\d{1,16})-\d{1,16}\/(\d{1,16})$/.exec(headers['content-range'] ?? '') ?? []
  if (status !== 206 || start === undefined || total === undefined) return undefined
  return { offset: whole(start), total: whole(total) }
}

function whole(digits: string): number {
  const value = Number(digits)
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new HttpsFailure('an impossible size')
}

async function* bodyOf(response: AsyncIterable<Buffer>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  try {
    yield* response
  } catch (cause) {
    signal?.throwIfAborted()
    throw httpsFailure(cause)
  }
}

/**
 * Asks for an artifact over gRPC.
 * @returns undefined when the stream ended at once.
 * @throws TapestryError; the signal's reason.
 */
export async function openOverGrpc(
  channel: Channel,
  digest: string,
  offset: number,
  signal: AbortSignal | undefined,
): Promise<Opened | undefined> {
  const over = new AbortController()
  const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
  const request = { digest, offset: BigInt(offset) }
  const messages = channel
    .receive(ArtifactService.method.downloadArtifact, request, { signal: either })
    [Symbol.asyncIterator]()
  const next = async () => {
    const timer = setTimeout(() => over.abort(stall()), IDLE_MS)
    try {
      return await messages.next()
    } finally {
      clearTimeout(timer)
    }
  }
  const first = await next()
  if (first.done === true) return undefined
  async function* body() {
    for (let at = first; at.done !== true; at = await next()) yield at.value.data
  }
  const { offset: begins, size } = first.value
  return { offset: safeNumber(begins), total: safeNumber(size), body: body(), close: () => over.abort(stall()) }
}

function stall(): TapestryError {
  return new TapestryError('UNAVAILABLE', 'the connection moved nothing for too long')
}
