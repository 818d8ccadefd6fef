import type { Http2Server } from 'node:http2'
import type { Socket } from 'node:net'
import { Server, ServerCredentials, type ServerOptions } from '@grpc/grpc-js'

const MIB = 2 ** 20

/**
 * Stock grpc-js gives senders a window of 64 KiB: 1.2 MB/s over a round trip of 50 ms. 8 MiB makes that 160
 * MB/s, as far as the receiving end goes. What one connection can make this process buffer is bounded by its own window.
 */
const STREAM_WINDOW = 8 * MIB
const CONNECTION_WINDOW = 16 * MIB

const OPTIONS: ServerOptions = {
  // Chunks are 1 MiB, manifests and plans far smaller.
  'grpc.max_receive_message_length': 4 * MIB,
  'grpc.max_concurrent_streams': 64,
  // A member behind a dead link is noticed within a minute and a half.
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.max_connection_idle_ms': 600_000,
  'grpc.enable_channelz': 0,
}

/** A gRPC server that listens nowhere: it is handed sockets whose TLS handshake is over. */
export type SocketServer = {
  readonly server: Server
  accept(socket: Socket): void
  /** Sends GOAWAY to every connection and, `graceMs` later, ends those that are left. */
  drain(graceMs: number): void
  /** Ends everything now. */
  destroy(): void
}

/** Makes the server with the limits of this protocol. Services are added to `server`. */
export function createGrpcServer(): SocketServer {
  const server = new Server(OPTIONS)
  widenStreams(server)
  // The sockets are encrypted already; the peer certificate is read from them.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  widenConnections(server)
  return {
    server,
    accept: (socket) => injector.injectConnection(socket),
    drain: (graceMs) => injector.drain(graceMs),
    destroy: () => server.forceShutdown(),
  }
}

/**
 * grpc-js has no option for a server's windows, so its HTTP/2 settings are reached by name.
 * Should a release rename them, the windows are small again (grpc-server.test.ts) and nothing else changes.
 */
function widenStreams(server: Server): void {
  const options: unknown = Reflect.get(server, 'commonServerOptions')
  if (!isRecord(options)) return
  const settings = isRecord(options['settings']) ? options['settings'] : {}
  options['settings'] = { ...settings, initialWindowSize: STREAM_WINDOW }
}

function widenConnections(server: Server): void {
  const servers: unknown = Reflect.get(server, 'http2Servers')
  if (!(servers instanceof Map)) return
  for (const http2Server of servers.keys()) {
    if (!isHttp2Server(http2Server)) continue
    http2Server.on('session', (session) => session.setLocalWindowSize(CONNECTION_WINDOW))
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isHttp2Server(value: unknown): value is Http2Server {
  return isRecord(value) && typeof value['on'] === 'function' && typeof value['updateSettings'] === 'function'
}
