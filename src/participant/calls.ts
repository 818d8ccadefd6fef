import { once } from 'node:events'
import { create, type DescMethod } from '@bufbuild/protobuf'
import { type Client, type ClientWritableStream, Metadata, type ServiceError } from '@grpc/grpc-js'
import { methodDefinition, type RequestInit, type RequestOf, type ResponseOf } from '../core/grpc-service.ts'
import { rpcError } from './rpc-error.ts'

export type UnaryMethod = DescMethod & { readonly methodKind: 'unary' }
export type ServerStreamMethod = DescMethod & { readonly methodKind: 'server_streaming' }
export type ClientStreamMethod = DescMethod & { readonly methodKind: 'client_streaming' }

export type CallOptions = {
  readonly signal?: AbortSignal | undefined
  /** Time for one attempt, milliseconds. Streams have none unless it is given. */
  readonly deadlineMs?: number
  /** Attempts at a unary call that may be repeated. */
  readonly attempts?: number
}

/** Submissions wait while every value of the payload is checked. */
const UNARY_DEADLINE_MS = 120_000

/** One request, one response. @throws TapestryError; the signal's reason when it is aborted. */
export function callUnary<M extends UnaryMethod>(
  client: Client,
  method: M,
  request: RequestInit<M>,
  { signal, deadlineMs = UNARY_DEADLINE_MS }: CallOptions,
): Promise<ResponseOf<M>> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
    const settle = settler(method, signal, resolve, reject, () => release())
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      message(method, request),
      new Metadata(),
      { deadline: Date.now() + deadlineMs },
      settle,
    )
    const release = onAbort(signal, () => call.cancel())
  })
}

/** One request, many responses, read as the caller asks for them. @throws as {@link callUnary}. */
export async function* receiveStream<M extends ServerStreamMethod>(
  client: Client,
  method: M,
  request: RequestInit<M>,
  { signal, deadlineMs }: CallOptions,
): AsyncGenerator<ResponseOf<M>> {
  signal?.throwIfAborted()
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
  const deadline = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs }
  const body = message(method, request)
  const call = client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    body,
    new Metadata(),
    deadline,
  )
  const release = onAbort(signal, () => call.cancel())
  try {
    for await (const response of call) yield response
    signal?.throwIfAborted()
  } catch (error) {
    signal?.throwIfAborted()
    throw isServiceError(error) ? rpcError(method.name, error) : error
  } finally {
    release()
    call.cancel()
  }
}

/** Many requests, one response; a request is asked for when the one before has left. @throws as {@link callUnary}. */
export function sendStream<M extends ClientStreamMethod>(
  client: Client,
  method: M,
  requests: AsyncIterable<RequestInit<M>>,
  { signal, deadlineMs }: CallOptions,
): Promise<ResponseOf<M>> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
    const over = new AbortController()
    const deadline = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs }
    const settle = settler(method, signal, resolve, reject, () => {
      release()
      over.abort()
    })
    const call = client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      new Metadata(),
      deadline,
      settle,
    )
    const release = onAbort(signal, () => call.cancel())
    feed(method, call, requests, over.signal).catch((error) => {
      if (over.signal.aborted) return
      reject(error)
      call.cancel()
    })
  })
}

async function feed<M extends ClientStreamMethod>(
  method: M,
  call: ClientWritableStream<RequestOf<M>>,
  requests: AsyncIterable<RequestInit<M>>,
  over: AbortSignal,
): Promise<void> {
  for await (const request of requests) {
    if (over.aborted) return
    if (!call.write(message(method, request))) await once(call, 'drain', { signal: over })
  }
  call.end()
}

/** The callback of a call, which tells an abort from a failure. `done` runs first. */
function settler<T>(
  method: DescMethod,
  signal: AbortSignal | undefined,
  resolve: (value: T) => void,
  reject: (reason: unknown) => void,
  done: () => void,
) {
  return (error: ServiceError | null, response?: T) => {
    done()
    if (error === null && response !== undefined) resolve(response)
    else if (signal?.aborted) reject(signal.reason)
    else reject(error === null ? new Error('neither a response nor an error') : rpcError(method.name, error))
  }
}

/** Runs `cancel` on abort, until released: a signal may outlive thousands of calls. */
function onAbort(signal: AbortSignal | undefined, cancel: () => void): () => void {
  signal?.addEventListener('abort', cancel, { once: true })
  return () => signal?.removeEventListener('abort', cancel)
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error
}

function message<M extends DescMethod>(method: M, request: RequestInit<M>): RequestOf<M> {
  return create<M['input']>(method.input, request)
}
