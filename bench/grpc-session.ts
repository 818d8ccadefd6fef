import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { create } from '@bufbuild/protobuf'
import { methodDefinition, type RequestInit, type RequestOf, type ResponseOf } from '../src/core/grpc-service.ts'
import type { ClientStreamMethod, ServerStreamMethod, UnaryMethod } from '../src/participant/calls.ts'

/** Who connects, and to whom. PEM. */
export type Access = { readonly url: string; readonly ca: string; readonly key: string; readonly cert: string }

/** A flag and the length of the message. */
const FRAME_BYTES = 5

/**
 * One connection that speaks gRPC over TLS: what a simulated node has. It does what the node's own client does on the
 * wire, with a tenth of its memory, so that ten thousand of them fit on one machine.
 */
export class GrpcSession {
  readonly #session: ClientHttp2Session

  private constructor(session: ClientHttp2Session) {
    this.#session = session
  }

  static open({ url, ...tls }: Access): Promise<GrpcSession> {
    return new Promise((resolve, reject) => {
      const session = connect(url, { ...tls, minVersion: 'TLSv1.3' })
      session.once('error', reject)
      session.once('connect', () => {
        session.off('error', reject)
        session.on('error', () => undefined)
        resolve(new GrpcSession(session))
      })
    })
  }

  /** One request, one response; also for a stream of a single request. @throws when it is refused or the connection ends. */
  async call<M extends UnaryMethod | ClientStreamMethod>(method: M, request: RequestInit<M>): Promise<ResponseOf<M>> {
    let answer: ResponseOf<M> | undefined
    await this.#exchange(method, request, (message) => {
      answer = message
    })
    if (answer === undefined) throw new Error(`${method.name} gave no answer`)
    return answer
  }

  /** Calls back for each message until the stream ends. */
  receive<M extends ServerStreamMethod>(
    method: M,
    request: RequestInit<M>,
    onMessage: (message: ResponseOf<M>) => void,
  ): Promise<void> {
    return this.#exchange(method, request, onMessage)
  }

  /** Bytes that went to and fro, inside TLS. */
  get bytes(): number {
    const { bytesRead = 0, bytesWritten = 0 } = this.#session.socket ?? {}
    return bytesRead + bytesWritten
  }

  close(): void {
    this.#session.destroy()
  }

  #exchange<M extends UnaryMethod | ClientStreamMethod | ServerStreamMethod>(
    method: M,
    request: RequestInit<M>,
    onMessage: (message: ResponseOf<M>) => void,
  ): Promise<void> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc+proto',
      te: 'trailers',
    })
    const message: RequestOf<M> = create<M['input']>(method.input, request)
    stream.end(framed(requestSerialize(message)))
    return new Promise((resolve, reject) => {
      const status = statusOf(stream)
      readFrames(stream, (bytes) => onMessage(responseDeserialize(bytes)))
      stream.once('error', reject)
      stream.once('close', () => {
        const failed = status()
        if (failed === undefined) resolve()
        else reject(new Error(`${method.name}: ${failed}`))
      })
    })
  }
}

function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_BYTES + message.byteLength)
  frame.writeUInt32BE(message.byteLength, 1)
  frame.set(message, FRAME_BYTES)
  return frame
}

function readFrames(stream: ClientHttp2Stream, onMessage: (bytes: Buffer) => void): void {
  let held: Buffer = Buffer.alloc(0)
  stream.on('data', (chunk: Buffer) => {
    held = held.byteLength === 0 ? chunk : Buffer.concat([held, chunk])
    while (held.byteLength >= FRAME_BYTES) {
      const end = FRAME_BYTES + held.readUInt32BE(1)
      if (held.byteLength < end) return
      onMessage(held.subarray(FRAME_BYTES, end))
      held = held.subarray(end)
    }
  })
}

/** What went wrong, once the stream has closed; in trailers, or in the headers of an answer without a body. */
function statusOf(stream: ClientHttp2Stream): () => string | undefined {
  let status: string | undefined
  const take = (headers: Readonly<Record<string, unknown>>) => {
    if (headers['grpc-status'] !== undefined) status = `${headers['grpc-status']} ${headers['grpc-message'] ?? ''}`
  }
  stream.on('response', take)
  stream.on('trailers', take)
  return () => (status?.startsWith('0 ') ? undefined : (status ?? 'the connection ended'))
}
