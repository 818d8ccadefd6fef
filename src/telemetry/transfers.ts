import type { IncomingMessage, ServerResponse } from 'node:http'
import { REQUEST_ID_KEY } from '../core/grpc-service.ts'
import type { Instruments } from './instruments.ts'
import { requestIdOf, traceParentOf } from './request-id.ts'
import type { Tracer } from './tracer.ts'

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT'])

/** Told of a request before it is answered. @returns what it is called. */
export type TransferWatch = (request: IncomingMessage, response: ServerResponse) => string

/** Counts and traces HTTPS requests until their connection is done with them, and tells each caller the id of its request. */
export function watchTransfers(instruments: Instruments, tracer: Tracer): TransferWatch {
  return (request, response) => {
    const headers = (name: string) => headerOf(request, name)
    const requestId = requestIdOf(headers)
    response.setHeader(REQUEST_ID_KEY, requestId)
    const method = METHODS.has(request.method ?? '') ? (request.method ?? '') : 'other'
    const attributes = { 'http.request.method': method, 'tapestry.request_id': requestId }
    const span = tracer.begin(`${method} ${areaOf(request.url)}`, 'server', attributes, traceParentOf(headers))
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
    return requestId
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
