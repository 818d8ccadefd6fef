import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Context } from '../context.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import { type Caller, identifyCaller } from '../store/principal.ts'
import type { UploadContext } from '../store/uploads.ts'
import { inLogScope } from '../telemetry/log-scope.ts'
import type { TransferWatch } from '../telemetry/transfers.ts'
import { type DownloadContext, sendArtifact } from './download.ts'
import { problemOf, sendProblem } from './problem.ts'
import { type RawBody, takeOver } from './raw-body.ts'
import { receiveArtifact } from './upload.ts'

/** What the transfer of bytes needs: a Context, and how much room its blobs have. */
export type TransferContext = UploadContext &
  DownloadContext &
  Pick<Context, 'federation'> & { readonly log: Pick<Context['log'], 'error' | 'debug'> }

const PREFIX = '/v1/artifacts/'

/** True for the paths that {@link artifactHandler} answers. */
export function isArtifactPath(url: string | undefined): boolean {
  return url?.startsWith(PREFIX) ?? false
}

/**
 * Bulk bytes over HTTPS, with the identity of the TLS connection they come over:
 * `PUT`, `GET` and `HEAD /v1/artifacts/<digest>`. Answers `checkContinue` events as well as requests.
 */
export function artifactHandler(ctx: TransferContext): RequestListener {
  return (request, response) => {
    response.on('error', () => undefined)
    // A refusal is still to be sent when the rest of the body is not wanted: the request must outlive its reading.
    const body = request.iterator({ destroyOnReturn: false })
    answer(ctx, request, response, body).catch((error) => fail(ctx, request, response, error))
  }
}

/**
 * The same for requests with `Upgrade: tapestry-raw-body`, and those with any other that node:http hands out.
 * @param begin is told of each, before it is answered.
 */
export function artifactTakeover(ctx: TransferContext, begin: TransferWatch = () => '') {
  return (request: IncomingMessage, connection: Duplex, head: Uint8Array): void => {
    if (!(connection instanceof Socket)) return void connection.destroy()
    const { response, body } = takeOver(request, connection, head)
    response.on('error', () => undefined)
    inLogScope({ requestId: begin(request, response) }, () => {
      answerRaw(ctx, request, response, body).catch((error) => fail(ctx, request, response, error))
    })
  }
}

async function answerRaw(
  ctx: TransferContext,
  request: IncomingMessage,
  response: ServerResponse,
  body: RawBody,
): Promise<void> {
  if (request.headers['transfer-encoding'] !== undefined) {
    throw new TapestryError('INVALID_ARGUMENT', 'a raw body has no Transfer-Encoding: its length is Content-Length')
  }
  return answer(ctx, request, response, body)
}

async function answer(
  ctx: TransferContext,
  request: IncomingMessage,
  response: ServerResponse,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  const digest = digestOfPath(request.url ?? '')
  const caller = await identifyCaller(ctx.store.reader, ctx.federation, certificateOf(request), ctx.clock.now())
  switch (request.method) {
    case 'PUT':
      return receiveArtifact(ctx, requireNode(caller), digest, { request, body }, response)
    case 'GET':
    case 'HEAD':
      return sendArtifact(ctx, caller, digest, request, response)
    default:
      sendProblem(response, {
        status: 405,
        code: 'INVALID_ARGUMENT',
        detail: `${request.method} is not possible here`,
        headers: { Allow: 'GET, HEAD, PUT' },
      })
  }
}

function fail(ctx: TransferContext, request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
  const error = toTapestryError(thrown)
  // A sender that goes away in the middle is an everyday event: what arrived is kept.
  if (error.code === 'INTERNAL' && !request.destroyed)
    ctx.log.error({ err: error, url: request.url }, 'a transfer failed')
  else ctx.log.debug({ err: error, url: request.url }, 'a transfer was refused or cut')
  if (response.headersSent || response.destroyed) request.socket.destroy()
  else sendProblem(response, problemOf(error))
}

function digestOfPath(url: string): Digest {
  const [path = ''] = url.split('?', 1)
  if (!isArtifactPath(path)) throw new TapestryError('NOT_FOUND', 'there is nothing here')
  const text = path.slice(PREFIX.length).replace(/^sha256%3a/i, 'sha256:')
  return ensureDigest(text)
}

/** The peer's certificate, DER, if TLS has verified it. */
function certificateOf({ socket }: IncomingMessage): Uint8Array | undefined {
  return socket instanceof TLSSocket && socket.authorized ? socket.getPeerCertificate().raw : undefined
}

function requireNode(caller: Caller) {
  if (caller.kind === 'node') return caller.node.id
  if (caller.kind === 'anyone') {
    throw new TapestryError('UNAUTHENTICATED', 'uploading needs a valid client certificate of this federation')
  }
  throw new TapestryError(
    'PERMISSION_DENIED',
    caller.kind === 'barred' ? `this node is ${caller.node.status}` : 'only nodes upload',
  )
}
