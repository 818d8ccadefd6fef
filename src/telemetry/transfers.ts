import type { IncomingMessage, RequestListener } from 'node:http'
import { REQUEST_ID_KEY } from '../core/grpc-service.ts'
import type { Instruments } from './instruments.ts'
import { requestIdOf, traceParentOf } from './request-id.ts'
import type { Tracer } from './tracer.ts'

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT'])

/** Counts and traces what an HTTPS handler answers, and tells each caller the id of its request. */
export function watchTransfers(handler: RequestListener, instruments: Instruments, tracer: Tracer): RequestListener {
  return (request, response) => {
    const headers = (name: string) => headerOf(request, name)
    const requestId = requestIdOf(headers)
    response.setHeader(REQUEST_ID_KEY, requestId)
    const method = METHODS.has(request.method ?? '') ? (request.method ?? '') : 'other'
    const span = tracer.begin(
      `${method} ${areaOf(request.url)}`,
      'server',
      { 'http.request.method': method, 'tapestry.request_id': requestId },
      traceParentOf(headers),
    )
    const { socket } = request
    const [read, written] = [socket.bytesRead, socket.bytesWritten]
    response.once('close', () => {
      const { transfers, transferBytes } = instruments
      // What was cut before it was answered has no status.
      const status = response.writableFinished ? String(response.statusCode) : 'cut'
      transfers.inc({ method, status })
      transferBytes.inc({ direction: 'received' }, Math.max(0, socket.bytesRead - read))
      transferBytes.inc({ direction: 'sent' }, Math.max(0, socket.bytesWritten - written))
      span.end(response.writableFinished && response.statusCode < 400 ? 'OK' : status)
    })
    handler(request, response)
  }
}

function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : undefined
}

/** The first parts of a path, without what the caller names: a digest, a tile. */
function areaOf(url = ''): string {
  return /^\/(v1\/artifacts|log)\//.exec(url)?.[0] ?? '/'
}
