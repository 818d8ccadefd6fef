import { TapestryError } from '../core/error.ts'
import { ArtifactService } from '../gen/proto/tapestry/v1/artifact_pb.ts'
import { IDLE_MS } from './artifact.ts'
import { type Answer, openConnection, requestHead, wholeNumber } from './artifact-connection.ts'
import type { Channel } from './channel.ts'
import { readText, refusalOf } from './https-failure.ts'
import { safeNumber } from './wire.ts'

/** Bytes of an artifact from an offset on, and the size of the whole. */
export type Opened = {
  readonly offset: number
  readonly total: number
  /** Each piece stays as it is until the second one after it is asked for. */
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
  const connection = openConnection(channel.https, signal)
  const headers: Record<string, string> = offset > 0 ? { Range: `bytes=${offset}-` } : {}
  // In HTTP/1.0 no answer comes in chunks.
  await connection.write(requestHead(channel.https, `GET /v1/artifacts/${digest} HTTP/1.0`, headers))
  const answer = await connection.answered
  if (answer.status === 416) {
    connection.close()
    return undefined
  }
  const place = placeOf(answer)
  if (place === undefined) {
    throw refusalOf(answer.status, await readText(answer.body), answer.headers.get('retry-after'))
  }
  return { ...place, body: answer.body, close: () => connection.close() }
}

function placeOf({ status, headers }: Answer): { readonly offset: number; readonly total: number } | undefined {
  const length = headers.get('content-length')
  if (status === 200 && length !== undefined) return { offset: 0, total: wholeNumber(length) }
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? []
  if (status !== 206 || start === undefined || total === undefined) return undefined
  return { offset: wholeNumber(start), total: wholeNumber(total) }
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
