import { isIP } from 'node:net'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'
import type { DescMethod } from '@bufbuild/protobuf'
import { Client, credentials } from '@grpc/grpc-js'
import type { RequestInit, ResponseOf } from '../core/grpc-service.ts'
import { OperatorService } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { RevocationService } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import { type Address, isLoopback } from './address.ts'
import {
  type CallOptions,
  type ClientStreamMethod,
  callUnary,
  receiveStream,
  type ServerStreamMethod,
  sendStream,
  type UnaryMethod,
} from './calls.ts'
import { DEFAULT_BACKOFF, retrying } from './retry.ts'

/** A client certificate and its key. PEM. */
export type ClientIdentity = { readonly key: string; readonly certificate: string }

/** Where bulk bytes travel: the same port, authority and identity as the calls. */
export type HttpsOrigin = {
  readonly host: string
  readonly port: number
  readonly tls: ConnectionOptions
}

/** A way to one coordinator: calls over gRPC and bytes over HTTPS, both under TLS pinned to the federation's authority. */
export type Channel = {
  readonly address: Address
  readonly https: HttpsOrigin
  /**
   * Calls a method; repeats it after passing failures unless a repetition would do something else.
   * @throws TapestryError with the coordinator's code, or UNAVAILABLE, DEADLINE_EXCEEDED; the signal's reason.
   */
  call<M extends UnaryMethod>(method: M, request: RequestInit<M>, options?: CallOptions): Promise<ResponseOf<M>>
  /** Yields what the server sends until it ends the stream. Never repeated. @throws as `call`. */
  receive<M extends ServerStreamMethod>(
    method: M,
    request: RequestInit<M>,
    options?: CallOptions,
  ): AsyncIterable<ResponseOf<M>>
  /** Sends a stream; a message is asked for when the one before has left. Never repeated. @throws as `call`. */
  send<M extends ClientStreamMethod>(
    method: M,
    requests: AsyncIterable<RequestInit<M>>,
    options?: CallOptions,
  ): Promise<ResponseOf<M>>
  /** Tells that an HTTPS origin failed: where the coordinator has other addresses, what follows goes to another. */
  leave(origin: HttpsOrigin): void
  /** Starts no further calls; those under way go on. */
  close(): void
}

/** A window of 64 KiB moves 1.2 MB/s over 50 ms; this one some 60 times as much. */
const FLOW_CONTROL_WINDOW = 8 * 2 ** 20
/** A manifest of a round with 100,000 contributions. */
const MAX_MESSAGE_BYTES = 64 * 2 ** 20
/** At a call that may be repeated. */
export const ATTEMPTS = 5

/** Methods whose repetition would do something again. */
const ONCE: ReadonlySet<DescMethod> = new Set([
  OperatorService.method.createInvitation,
  OperatorService.method.createRun,
  OperatorService.method.startRound,
  RevocationService.method.requestRevocation,
])

/** False for a method whose repetition would do something again. */
export function mayRepeat(method: DescMethod): boolean {
  return !ONCE.has(method)
}

const OPTIONS = {
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 15_000,
  'grpc.initial_reconnect_backoff_ms': 250,
  'grpc.max_reconnect_backoff_ms': 30_000,
  // A renewed certificate must not share a connection that was made with the old one.
  'grpc.use_local_subchannel_pool': 1,
  // The retry policy is in `call`, where it is known what may be repeated.
  'grpc.enable_retries': 0,
} as const

/**
 * Opens a channel. Nothing is sent before the first call.
 * @param authority PEM of the federation's CA certificate, the only root that is trusted.
 * @param identity absent for strangers.
 */
export function openChannel(address: Address, authority: string, identity?: ClientIdentity): Channel {
  const client = new Client(address.text, channelCredentials(address, authority, identity), clientOptions(address))
  return {
    address,
    https: { host: address.host, port: address.port, tls: tlsOptions(authority, identity) },
    leave: () => undefined,
    call(method, request, options = {}) {
      const attempts = mayRepeat(method) ? (options.attempts ?? ATTEMPTS) : 1
      const policy = { attempts, backoff: DEFAULT_BACKOFF, signal: options.signal }
      return retrying(() => callUnary(client, method, request, options), policy)
    },
    receive: (method, request, options = {}) => receiveStream(client, method, request, options),
    send: (method, requests, options = {}) => sendStream(client, method, requests, options),
    close: () => client.close(),
  }
}

function channelCredentials({ host }: Address, authority: string, identity: ClientIdentity | undefined) {
  return credentials.createSsl(
    Buffer.from(authority),
    identity ? Buffer.from(identity.key) : null,
    identity ? Buffer.from(identity.certificate) : null,
    { checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate) },
  )
}

/** RFC 6066 allows no IP address as a server name, so another name is sent; the address itself is what gets checked. */
function clientOptions(address: Address) {
  return {
    ...OPTIONS,
    ...(isIP(address.host) === 0 ? {} : { 'grpc.ssl_target_name_override': 'coordinator.invalid' }),
    ...(isLoopback(address) ? { 'grpc.enable_http_proxy': 0 } : {}),
  }
}

function tlsOptions(authority: string, identity: ClientIdentity | undefined): ConnectionOptions {
  return {
    ca: authority,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['http/1.1'],
    ...(identity && { key: identity.key, cert: identity.certificate }),
  }
}
