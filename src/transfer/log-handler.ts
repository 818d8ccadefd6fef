import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Context } from '../context.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import { HASH_BYTES } from '../ledger/merkle.ts'
import { encodeBundle, parseTilePath, TILE_WIDTH, type Tile } from '../ledger/tile.ts'
import type { PublicLog } from '../store/public-log.ts'
import type { Reader } from '../store/reader.ts'
import { problemOf, sendProblem } from './problem.ts'

/** What the static files of the log need. */
export type LogContext = {
  readonly store: { readonly reader: Pick<Reader, 'ledgerHashes' | 'ledgerEntries'> }
  readonly log: Pick<Context['log'], 'error' | 'debug'>
}

const PREFIX = '/log/'
const CHECKPOINT = 'checkpoint'

/** True for the paths that {@link logHandler} answers. */
export function isLogPath(url: string | undefined): boolean {
  return url?.startsWith(PREFIX) ?? false
}

/** The log as the files of C2SP tlog-tiles, open to anyone: `GET` and `HEAD /log/checkpoint`, `/log/tile/...`. */
export function logHandler(ctx: LogContext, log: PublicLog): RequestListener {
  return (request, response) => {
    response.on('error', () => undefined)
    answer(ctx, log, request, response).catch((thrown) => fail(ctx, request, response, thrown))
  }
}

async function answer(
  ctx: LogContext,
  log: PublicLog,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return sendProblem(response, {
      status: 405,
      code: 'INVALID_ARGUMENT',
      detail: `${request.method} is not possible here`,
      headers: { Allow: 'GET, HEAD' },
    })
  }
  const path = (request.url ?? '').slice(PREFIX.length)
  if (path === CHECKPOINT) {
    const { note } = await log.checkpoint()
    return send(response, Buffer.from(note, 'utf8'), 'text/plain; charset=utf-8', 'no-cache')
  }
  const tile = parseTilePath(path)
  const bytes = tile && (await tileBytes(ctx, tile))
  if (bytes === undefined) throw new TapestryError('NOT_FOUND', 'the log has no such file')
  send(response, bytes, 'application/octet-stream', 'public, max-age=31536000, immutable')
}

/** A tile, partial ones of any width that the log has reached; undefined where it has not. */
async function tileBytes({ store }: LogContext, { level, index, width }: Tile): Promise<Uint8Array | undefined> {
  if (level === 'entries') {
    const entries = await store.reader.ledgerEntries(index * TILE_WIDTH, width)
    return entries.length === width ? encodeBundle(entries) : undefined
  }
  const hashes = await store.reader.ledgerHashes({ level, index, width })
  return hashes.byteLength === width * HASH_BYTES ? hashes : undefined
}

function send(response: ServerResponse, bytes: Uint8Array, type: string, caching: string): void {
  response.writeHead(200, {
    'Content-Type': type,
    'Content-Length': bytes.byteLength,
    'Cache-Control': caching,
    'X-Content-Type-Options': 'nosniff',
  })
  // HEAD has the headers of GET; Node leaves its body out.
  response.end(bytes)
}

function fail(ctx: LogContext, request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const error = toTapestryError(thrown)
  if (error.code === 'INTERNAL') ctx.log.error({ err: error, url: request.url }, 'a file of the log could not be read')
  else ctx.log.debug({ err: error, url: request.url }, 'a request for a file of the log was refused')
  if (response.headersSent || response.destroyed) request.destroy()
  else sendProblem(response, problemOf(error))
}
