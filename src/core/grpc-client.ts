import { create, type DescMethod } from '@bufbuild/protobuf'
import type * as grpc from '@grpc/grpc-js'
import { type ErrorCode, isErrorCode, TapestryError } from './error.ts'
import {
  CODE_KEY,
  decodeHint,
  HINT_KEY,
  methodDefinition,
  methodPath,
  type RequestInit,
  type RequestOf,
  type ResponseOf,
  type Service,
} from './grpc-service.ts'

/** `timeoutMs` becomes the call's deadline; without it a call may take as long as it likes. */
export type ClientCallOptions = { readonly signal?: AbortSignal; readonly timeoutMs?: number }

type ClientMethod<M extends DescMethod> = M['methodKind'] extends 'unary'
  ? (request: RequestInit<M>, options?: ClientCallOptions) => Promise<ResponseOf<M>>
  : M['methodKind'] extends 'client_streaming'
    ? (requests: AsyncIterable<RequestInit<M>>, options?: ClientCallOptions) => Promise<ResponseOf<M>>
    : M['methodKind'] extends 'server_streaming'
      ? (request: RequestInit<M>, options?: ClientCallOptions) => AsyncIterable<ResponseOf<M>>
      : never

/** A service's methods as functions. Every failure is a TapestryError with the code that the server gave. */
export type ServiceClient<S extends Service> = { readonly [K in keyof S['method']]: ClientMethod<S['method'][K]> }

/** Calls a service over a connection; closing the connection is its owner's business. */
export function createServiceClient<S extends Service>(service: S, connection: grpc.Client): ServiceClient<S> {
  const methods = service.methods.map((method) => [method.localName, callable(method, connection)])
  // The entries are built from the same descriptor that the type is computed from.
  return Object.fromEntries(methods) as ServiceClient<S>
}

function callable(method: DescMethod, connection: grpc.Client) {
  switch (method.methodKind) {
    case 'unary':
      return (request: RequestInit<DescMethod>, options?: ClientCallOptions) =>
        callUnary(method, connection, create(method.input, request), options)
    case 'client_streaming':
      return (requests: AsyncIterable<RequestInit<DescMethod>>, options?: ClientCallOptions) =>
        callClientStream(method, connection, requests, options)
    case 'server_streaming':
      return (request: RequestInit<DescMethod>, options?: ClientCallOptions) =>
        callServerStream(method, connection, create(method.input, request), options)
    case 'bidi_streaming':
      throw new TapestryError('INTERNAL', `${methodPath(method)}: the protocol has no bidirectional streams`)
  }
}

type Cancel = { cancel(): void }
type Callback<M extends DescMethod> = (error: grpc.ServiceError | null, response?: ResponseOf<M>) => void

function callUnary<M extends DescMethod>(
  method: M,
  connection: grpc.Client,
  request: RequestOf<M>,
  options: ClientCallOptions = {},
): Promise<ResponseOf<M>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
  return settled(method, options, (done) =>
    connection.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, deadlineOf(options), done),
  )
}

async function callClientStream<M extends DescMethod>(
  method: M,
  connection: grpc.Client,
  requests: AsyncIterable<RequestInit<M>>,
  options: ClientCallOptions = {},
): Promise<ResponseOf<M>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
  let over = false
  let failure: unknown
  const answer = settled(method, options, (done) => {
    const call = connection.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      deadlineOf(options),
      (error: grpc.ServiceError | null, response?: ResponseOf<M>) => {
        over = true
        done(error, response)
      },
    )
    send(method, call, requests, () => over).catch((thrown: unknown) => {
      failure = thrown
      call.cancel()
    })
    return call
  })
  try {
    return await answer
  } catch (error) {
    throw failure ?? error
  }
}

/** Writes as fast as the connection takes it, and stops as soon as the server has answered. */
async function send<M extends DescMethod>(
  method: M,
  call: grpc.ClientWritableStream<RequestOf<M>>,
  requests: AsyncIterable<RequestInit<M>>,
  isOver: () => boolean,
): Promise<void> {
  call.on('error', () => undefined)
  for await (const request of requests) {
    if (isOver()) return
    if (!call.write(create<M['input']>(method.input, request))) await drained(call)
  }
  call.end()
}

function drained(call: NodeJS.EventEmitter): Promise<void> {
  return new Promise((resolve) => {
    const events = ['drain', 'close', 'error', 'status']
    const stop = () => {
      for (const event of events) call.removeListener(event, stop)
      resolve()
    }
    for (const event of events) call.once(event, stop)
  })
}

async function* callServerStream<M extends DescMethod>(
  method: M,
  connection: grpc.Client,
  request: RequestOf<M>,
  options: ClientCallOptions = {},
): AsyncGenerator<ResponseOf<M>> {
  options.signal?.throwIfAborted()
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method)
  const call = connection.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    deadlineOf(options),
  )
  const detach = cancelOn(options.signal, call)
  try {
    for await (const response of call) yield response
  } catch (error) {
    throw errorOf(error, options.signal)
  } finally {
    detach()
    call.cancel()
  }
}

function settled<M extends DescMethod>(
  _method: M,
  options: ClientCallOptions,
  start: (done: Callback<M>) => Cancel,
): Promise<ResponseOf<M>> {
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted()
    let detach = () => {}
    const call = start((error, response) => {
      detach()
      if (error) reject(errorOf(error, options.signal))
      else if (response === undefined) reject(new TapestryError('INTERNAL', 'an answer without a message'))
      else resolve(response)
    })
    detach = cancelOn(options.signal, call)
  })
}

function cancelOn(signal: AbortSignal | undefined, call: Cancel): () => void {
  if (!signal) return () => {}
  const cancel = () => call.cancel()
  signal.addEventListener('abort', cancel, { once: true })
  return () => signal.removeEventListener('abort', cancel)
}

function deadlineOf(options: ClientCallOptions): grpc.CallOptions {
  return options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs }
}

/** Ours for gRPC's numbers, where a server (or a proxy on the way) sent no code of ours. */
const CODE_OF_STATUS: ReadonlyMap<number, ErrorCode> = new Map([
  [1, 'UNAVAILABLE'],
  [3, 'INVALID_ARGUMENT'],
  [4, 'DEADLINE_EXCEEDED'],
  [5, 'NOT_FOUND'],
  [6, 'ALREADY_EXISTS'],
  [7, 'PERMISSION_DENIED'],
  [8, 'RESOURCE_EXHAUSTED'],
  [9, 'FAILED_PRECONDITION'],
  [10, 'UNAVAILABLE'],
  [14, 'UNAVAILABLE'],
  [16, 'UNAUTHENTICATED'],
])

function errorOf(thrown: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason
  return isServiceError(thrown) ? fromServiceError(thrown) : thrown
}

function isServiceError(thrown: unknown): thrown is grpc.ServiceError {
  return thrown instanceof Error && 'metadata' in thrown && 'details' in thrown && 'code' in thrown
}

/** The server's own error again: its code and hint from the trailing metadata, its message from the status. */
export function fromServiceError(error: grpc.ServiceError): TapestryError {
  const [sent] = error.metadata?.get(CODE_KEY) ?? []
  const [hint] = error.metadata?.get(HINT_KEY) ?? []
  const code = typeof sent === 'string' && isErrorCode(sent) ? sent : (CODE_OF_STATUS.get(error.code) ?? 'INTERNAL')
  return new TapestryError(code, error.details, {
    cause: error,
    ...(typeof hint === 'string' ? { hint: decodeHint(hint) } : {}),
  })
}
