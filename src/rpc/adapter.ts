import { setMaxListeners } from 'node:events'
import { create, type DescMethod, fromBinary, toBinary } from '@bufbuild/protobuf'
import type * as grpc from '@grpc/grpc-js'
import type { Context } from '../context.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import { methodPath, type RequestOf, type ResponseInit, type Service, serviceDefinition } from '../core/grpc-service.ts'
import { certificateIdentity } from '../identity/certificate-identity.ts'
import { type AuthContext, accessOf, authorize, type PrincipalOf } from './auth.ts'
import { grpcFailure } from './status.ts'
import { StreamLimit } from './stream-limit.ts'

/** What the wrappers need. */
export type RpcContext = AuthContext & {
  readonly log: Pick<Context['log'], 'error' | 'debug'>
  /** Counts the open streams of this server's peers. */
  readonly streams: StreamLimit
  /** Aborted when the server stops: ends server streams with UNAVAILABLE, so that watchers do not hold it up. */
  readonly closing: AbortSignal
}

/** Enough for a node that watches, uploads and downloads shards at once; few enough that one peer cannot hold them all. */
const MOST_STREAMS_PER_PEER = 32

/** The wrappers' context of one server. */
export function rpcContext(context: AuthContext & Pick<RpcContext, 'log'>, closing: AbortSignal): RpcContext {
  const { federation, store, clock, log } = context
  // Every open stream listens to it: many are no leak.
  setMaxListeners(0, closing)
  return { federation, store, clock, log, closing, streams: new StreamLimit(MOST_STREAMS_PER_PEER) }
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
    respond(ctx, method, callback, async () => {
      const signal = signalOf(call)
      const principal = await authorize(ctx, method, certificateOf(call))
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
    respond(ctx, method, callback, async () => {
      const signal = signalOf(call)
      const leave = ctx.streams.enter(streamOwner(ctx, call))
      try {
        const principal = await authorize(ctx, method, certificateOf(call))
        return encode(method, await handler(decodeAll(method, call), principal, signal))
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
    pump(ctx, method, call, handler).then(
      () => call.end(),
      (error) => call.emit('error', failureOf(ctx, method, error)),
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
): Promise<void> {
  const signal = signalOf(call, ctx.closing)
  const certificate = certificateOf(call)
  const leave = ctx.streams.enter(streamOwner(ctx, call))
  try {
    const principal = await authorize(ctx, method, certificate)
    let authorizedAt = ctx.clock.now()
    for await (const response of handler(decode(method, call.request), principal, signal)) {
      if (ctx.clock.now() - authorizedAt >= REAUTHORIZE_MS) {
        await authorize(ctx, method, certificate)
        authorizedAt = ctx.clock.now()
      }
      await write(call, encode(method, response), signal)
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

function stopping(): TapestryError {
  return new TapestryError('UNAVAILABLE', 'the stream has ended', { hint: 'connect again' })
}

function respond(
  ctx: RpcContext,
  method: DescMethod,
  callback: grpc.sendUnaryData<Buffer>,
  produce: () => Promise<Buffer>,
): void {
  produce()
    .then(
      (bytes) => callback(null, bytes),
      (error) => callback(failureOf(ctx, method, error)),
    )
    .catch((error) => ctx.log.error({ err: error, method: methodPath(method) }, 'a response could not be sent'))
}

/** Failures of ours are logged in full and told in general; a caller's errors are told in full. */
function failureOf(ctx: RpcContext, method: DescMethod, thrown: unknown): ReturnType<typeof grpcFailure> {
  const error = toTapestryError(thrown)
  const entry = { err: error, code: error.code, method: methodPath(method) }
  if (error.code === 'INTERNAL' || error.code === 'ENGINE_FAILED') ctx.log.error(entry, 'a call failed')
  else ctx.log.debug(entry, 'a call was refused')
  return grpcFailure(error)
}

function decode<M extends DescMethod>(method: M, bytes: Buffer): RequestOf<M> {
  try {
    return fromBinary<M['input']>(method.input, bytes)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', `not a ${method.input.name}`, { cause })
  }
}

async function* decodeAll<M extends DescMethod>(method: M, call: AsyncIterable<Buffer>): AsyncGenerator<RequestOf<M>> {
  for await (const bytes of call) yield decode(method, bytes)
}

function encode<M extends DescMethod>(method: M, response: ResponseInit<M>): Buffer {
  const bytes = toBinary<M['output']>(method.output, create<M['output']>(method.output, response))
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

type Cancellable = { readonly cancelled: boolean; once(event: 'cancelled', listener: () => void): unknown }

/** Aborted when the call is over, for whatever reason, or when `closing` is. */
function signalOf(call: Cancellable, closing?: AbortSignal): AbortSignal {
  const controller = new AbortController()
  const stop = () => {
    closing?.removeEventListener('abort', stop)
    controller.abort(stopping())
  }
  if (call.cancelled || closing?.aborted) stop()
  else {
    call.once('cancelled', stop)
    closing?.addEventListener('abort', stop)
  }
  return controller.signal
}

type AnyCall = Pick<grpc.ServerUnaryCall<unknown, unknown>, 'getAuthContext' | 'getPeer'>

/** The verified certificate of the peer, DER: grpc-js gives one only when TLS has accepted it. */
function certificateOf(call: AnyCall): Uint8Array | undefined {
  try {
    return call.getAuthContext().sslPeerCertificate?.raw
  } catch {
    // The socket closed before the call began: nobody is there to be refused.
    return undefined
  }
}

/**
 * Whose streams are counted together: a node's or operator's over all connections, a stranger's by address. Told by
 * the certificate alone: who opens thousands must not have the database asked about each of them.
 */
function streamOwner({ federation, clock }: RpcContext, call: AnyCall): string {
  const certificate = certificateOf(call)
  const identity = certificate && certificateIdentity(certificate, federation, clock.now())
  if (identity === undefined) return call.getPeer().replace(/:\d+$/, '')
  return identity.kind === 'node' ? identity.node : identity.name
}
