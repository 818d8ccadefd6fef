import { setMaxListeners } from 'node:events'
import { create, type DescMethod, fromBinary, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import type { Context } from '../context.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import {
  methodPath,
  REQUEST_ID_KEY,
  type RequestOf,
  type ResponseInit,
  type Service,
  serviceDefinition,
} from '../core/grpc-service.ts'
import { type Call, type CallWatch, UNWATCHED } from '../telemetry/calls.ts'
import { inLogScope } from '../telemetry/log-scope.ts'
import { type AuthContext, accessOf, authorize, type PrincipalOf } from './auth.ts'
import { type AnyCall, certificateOf, signalOf, stopping, streamOwner } from './incoming-call.ts'
import { grpcFailure } from './status.ts'
import { StreamLimit } from './stream-limit.ts'

/** What the wrappers need. */
export type RpcContext = AuthContext & {
  readonly log: Pick<Context['log'], 'error' | 'debug'>
  /** Counts the open streams of this server's peers. */
  readonly streams: StreamLimit
  /** Aborted when the server stops: ends server streams with UNAVAILABLE, so that watchers do not hold it up. */
  readonly closing: AbortSignal
  readonly watch: CallWatch
}

/** Enough for a node that watches, uploads and downloads shards at once; few enough that one peer cannot hold them all. */
const MOST_STREAMS_PER_PEER = 32

/** The wrappers' context of one server. */
export function rpcContext(
  context: AuthContext & Pick<RpcContext, 'log'>,
  closing: AbortSignal,
  watch: CallWatch = UNWATCHED,
): RpcContext {
  const { federation, store, clock, log } = context
  // Every open stream listens to it: many are no leak.
  setMaxListeners(0, closing)
  return { federation, store, clock, log, closing, watch, streams: new StreamLimit(MOST_STREAMS_PER_PEER) }
}

type UnaryMethod = DescMethod & { readonly methodKind: 'unary' }
type ClientStreamMethod = DescMethod & { readonly methodKind: 'client_streaming' }
type ServerStreamMethod = DescMethod & { readonly methodKind: 'server_streaming' }

/** `signal` is aborted when the caller goes away, its deadline passes, or the call is over. */
export type UnaryHandler<M extends DescMethod> = (
  request: RequestOf<M>,
  principal: PrincipalOf<M>,
  signal: AbortSignal,
) => Promise<ResponseInit<M>>

/** Messages are read from the socket as the handler asks for them. */
export type ClientStreamHandler<M extends DescMethod> = (
  requests: AsyncIterable<RequestOf<M>>,
  principal: PrincipalOf<M>,
  signal: AbortSignal,
) => Promise<ResponseInit<M>>

/** The next message is asked for when the last one was written. A generator that waits must wake on `signal`. */
export type ServerStreamHandler<M extends DescMethod> = (
  request: RequestOf<M>,
  principal: PrincipalOf<M>,
  signal: AbortSignal,
) => AsyncIterable<ResponseInit<M>>

/** A handler that is bound to its method: authorised, decoded and mapped to a status before and after. */
export type Bound<M extends DescMethod> = { readonly method: M; readonly handle: grpc.UntypedHandleCall }

export type Handlers<S extends Service> = { readonly [K in keyof S['method']]: Bound<S['method'][K]> }

/**
 * Registers a service. Requests and responses pass as bytes, so that nothing is decoded for a caller who is not
 * let through and a malformed message is the caller's error, not the server's.
 * @throws TapestryError INTERNAL when a method has no access rule or is bound to another method's handler.
 */
export function addService<S extends Service>(server: grpc.Server, service: S, handlers: Handlers<S>): void {
  const bound: ReadonlyMap<string, Bound<DescMethod>> = new Map(Object.entries(handlers))
  const implementation: grpc.UntypedServiceImplementation = {}
  const definition: Record<string, grpc.MethodDefinition<Buffer, Buffer>> = {}
  for (const [name, method] of Object.entries(serviceDefinition(service))) {
    const handler = bound.get(name)
    if (!handler || methodPath(handler.method) !== method.path || !accessOf(handler.method)) {
      throw new TapestryError('INTERNAL', `${method.path} has no handler or no access rule`)
    }
    implementation[name] = handler.handle
    definition[name] = { ...method, ...AS_BYTES }
  }
  server.addService(definition, implementation)
}

const same = (bytes: Buffer) => bytes
const AS_BYTES = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
}

/** Binds a handler of one request and one response. */
export function unary<M extends UnaryMethod>(ctx: RpcContext, method: M, handler: UnaryHandler<M>): Bound<M> {
  const handle: grpc.handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    respond(ctx, method, call, callback, async (watched) => {
      const signal = signalOf(call)
      const principal = await authorize(ctx, method, certificateOf(call))
      watched.received(call.request.length)
      return encode(method, await handler(decode(method, call.request), principal, signal))
    })
  }
  return { method, handle }
}

/** Binds a handler of many requests and one response. */
export function clientStream<M extends ClientStreamMethod>(
  ctx: RpcContext,
  method: M,
  handler: ClientStreamHandler<M>,
): Bound<M> {
  const handle: grpc.handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
    respond(ctx, method, call, callback, async (watched) => {
      const signal = signalOf(call)
      const leave = ctx.streams.enter(streamOwner(ctx, call))
      try {
        const principal = await authorize(ctx, method, certificateOf(call))
        return encode(method, await handler(decodeAll(method, call, watched), principal, signal))
      } finally {
        leave()
      }
    })
  }
  return { method, handle }
}

/** Binds a handler of one request and many responses. Long streams are authorised again every minute. */
export function serverStream<M extends ServerStreamMethod>(
  ctx: RpcContext,
  method: M,
  handler: ServerStreamHandler<M>,
): Bound<M> {
  const handle: grpc.handleServerStreamingCall<Buffer, Buffer> = (call) => {
    const watched = begin(ctx, method, call)
    inLogScope({ requestId: watched.requestId }, () => pump(ctx, method, call, handler, watched)).then(
      () => {
        watched.end('OK')
        call.end(trailerOf(watched))
      },
      (error) => call.emit('error', failureOf(ctx, method, watched, error)),
    )
  }
  return { method, handle }
}

/** A suspended node, or one whose certificate ran out, loses its open streams this long after, at their next message. */
const REAUTHORIZE_MS = 60_000
type ServerCall = grpc.ServerWritableStream<Buffer, Buffer>

async function pump<M extends ServerStreamMethod>(
  ctx: RpcContext,
  method: M,
  call: ServerCall,
  handler: ServerStreamHandler<M>,
  watched: Call,
): Promise<void> {
  const signal = signalOf(call, ctx.closing)
  const certificate = certificateOf(call)
  watched.received(call.request.length)
  const leave = ctx.streams.enter(streamOwner(ctx, call))
  try {
    const principal = await authorize(ctx, method, certificate)
    let authorizedAt = ctx.clock.now()
    for await (const response of handler(decode(method, call.request), principal, signal)) {
      if (ctx.clock.now() - authorizedAt >= REAUTHORIZE_MS) {
        await authorize(ctx, method, certificate)
        authorizedAt = ctx.clock.now()
      }
      const bytes = encode(method, response)
      await write(call, bytes, signal)
      watched.sent(bytes.length)
    }
  } finally {
    leave()
  }
  if (ctx.closing.aborted) throw stopping()
}

/** Resolves when the message has left for the socket: the producer's back-pressure. */
function write(call: ServerCall, bytes: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(stopping())
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    call.write(bytes, (error: Error | null | undefined) => {
      signal.removeEventListener('abort', stop)
      if (error) reject(error)
      else resolve()
    })
  })
}

function respond(
  ctx: RpcContext,
  method: DescMethod,
  call: AnyCall,
  callback: grpc.sendUnaryData<Buffer>,
  produce: (watched: Call) => Promise<Buffer>,
): void {
  const watched = begin(ctx, method, call)
  inLogScope({ requestId: watched.requestId }, () => produce(watched))
    .then(
      (bytes) => {
        watched.sent(bytes.length)
        watched.end('OK')
        callback(null, bytes, trailerOf(watched))
      },
      (error) => callback(failureOf(ctx, method, watched, error)),
    )
    .catch((error) => {
      const { requestId } = watched
      ctx.log.error({ err: error, method: methodPath(method), requestId }, 'a response could not be sent')
    })
}

function begin(ctx: RpcContext, method: DescMethod, { metadata }: AnyCall): Call {
  const streams = method.methodKind === 'server_streaming'
  return ctx.watch({ path: methodPath(method), streams }, (name) => metadata.get(name)[0]?.toString())
}

/** Tells the caller what its request is called here. */
function trailerOf({ requestId }: Call, metadata = new grpc.Metadata()): grpc.Metadata {
  metadata.set(REQUEST_ID_KEY, requestId)
  return metadata
}

/** Ends a failed call. Failures of ours are logged in full and told in general; a caller's errors are told in full. */
function failureOf(
  ctx: RpcContext,
  method: DescMethod,
  watched: Call,
  thrown: unknown,
): ReturnType<typeof grpcFailure> {
  const error = toTapestryError(thrown)
  const entry = { err: error, code: error.code, method: methodPath(method), requestId: watched.requestId }
  if (error.code === 'INTERNAL' || error.code === 'ENGINE_FAILED') ctx.log.error(entry, 'a call failed')
  else ctx.log.debug(entry, 'a call was refused')
  watched.end(error.code)
  const failure = grpcFailure(error)
  trailerOf(watched, failure.metadata)
  return failure
}

function decode<M extends DescMethod>(method: M, bytes: Buffer): RequestOf<M> {
  try {
    return fromBinary<M['input']>(method.input, bytes)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', `not a ${method.input.name}`, { cause })
  }
}

async function* decodeAll<M extends DescMethod>(
  method: M,
  call: AsyncIterable<Buffer>,
  watched: Call,
): AsyncGenerator<RequestOf<M>> {
  for await (const bytes of call) {
    watched.received(bytes.length)
    yield decode(method, bytes)
  }
}

function encode<M extends DescMethod>(method: M, response: ResponseInit<M>): Buffer {
  const bytes = toBinary<M['output']>(method.output, create<M['output']>(method.output, response))
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
