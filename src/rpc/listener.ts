import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingMessage,
  type RequestListener,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer, type TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls'
import type { Logger } from 'pino'
import { TapestryError } from '../core/error.ts'
import type { SocketServer } from './grpc-server.ts'

/** The server's own certificate with its key, PEM. */
export type ListenerCertificate = { readonly certificate: string; readonly key: string }

export type ListenOptions = {
  readonly host: string
  /** 0 picks a free one. */
  readonly port: number
  readonly certificate: ListenerCertificate
  /** PEM certificate of the federation's authority: signs the server's certificate and every client's. */
  readonly authority: string
  readonly grpc: SocketServer
  /** Answers everything that is not HTTP/2. A request that expects 100 Continue comes here too, undecided. */
  readonly http: RequestListener
  /** Takes over the connection of a request with an `Upgrade`. Without it, these are requests as any other. */
  readonly upgrade?: UpgradeListener
  readonly log: Pick<Logger, 'debug' | 'warn'>
  /** Connections at a time; more are closed at once. */
  readonly maxConnections?: number
}

export type UpgradeListener = (request: IncomingMessage, connection: Duplex, head: Uint8Array) => void

export type Listener = {
  readonly port: number
  /** New handshakes use the new certificate; open connections go on. */
  replaceCertificate(certificate: ListenerCertificate): void
  /** Takes no more connections, lets calls end for `graceMs`, then cuts what is left. Resolves when all are gone. */
  close(graceMs: number): Promise<void>
}

const HANDSHAKE_MS = 10_000
/** Headers are small; a body may take days, but a socket may not be silent for this long. */
const HEADERS_MS = 15_000
const SILENCE_MS = 120_000
const KEEP_ALIVE_MS = 10_000

/**
 * One TLS port for gRPC (ALPN `h2`) and HTTPS (everything else), with one kind of identity: a client certificate of
 * the federation's authority. Who presents none, or one that does not verify, is let in as a stranger: what a
 * stranger may do is decided call by call.
 * @throws TapestryError PORT_IN_USE; PERMISSION_DENIED for a privileged port; INVALID_ARGUMENT for an address that is
 *   not this machine's; UNAVAILABLE for anything else.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const http = httpServer(options)
  const tls = createTlsServer({
    ...secureContext(options.certificate, options.authority),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: HANDSHAKE_MS,
  })
  if (options.maxConnections !== undefined) tls.maxConnections = options.maxConnections
  const sockets = trackSockets(tls)
  tls.on('secureConnection', (socket) => route(socket, options, http))
  tls.on('tlsClientError', (error) => options.log.debug({ err: error }, 'a TLS handshake failed'))
  tls.on('drop', () => options.log.warn('too many connections: one was closed'))
  const port = await bind(tls, options.host, options.port)
  return {
    port,
    replaceCertificate: (certificate) => tls.setSecureContext(secureContext(certificate, options.authority)),
    close: (graceMs) => close(tls, http, options.grpc, sockets, graceMs),
  }
}

function secureContext({ certificate, key }: ListenerCertificate, authority: string): TlsOptions {
  // The authority travels too: who holds an invitation knows its fingerprint and learns the certificate from here.
  return { key, cert: `${certificate.trimEnd()}\n${authority}`, ca: authority, minVersion: 'TLSv1.3' }
}

function route(socket: TLSSocket, { grpc, log }: ListenOptions, http: HttpServer): void {
  socket.on('error', (error) => log.debug({ err: error }, 'a connection failed'))
  keepCertificate(socket)
  if (socket.alpnProtocol === 'h2') grpc.accept(socket)
  else http.emit('connection', socket)
}

/**
 * Has a connection read its peer's certificate once, at its first call, and hold nothing of it but its bytes (DER).
 * TLS 1.3 knows no other certificate on a connection than that of its handshake, and every call asks for it.
 */
function keepCertificate(socket: TLSSocket): void {
  let kept: { readonly raw?: Uint8Array } | undefined
  const read = socket.getPeerCertificate.bind(socket)
  const value = () => {
    if (kept !== undefined) return kept
    const certificate = read()
    // Null once the socket is closed, and an object without `raw` for a peer that presented none.
    kept = certificate && { raw: certificate.raw }
    return kept
  }
  Object.defineProperty(socket, 'getPeerCertificate', { value })
}

/** An HTTP server that never listens itself: it is handed sockets. */
function httpServer({ http: handler, upgrade }: ListenOptions): HttpServer {
  const server = createHttpServer({
    headersTimeout: HEADERS_MS,
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: 5000,
  })
  server.setTimeout(SILENCE_MS)
  server.on('request', handler)
  // Whoever asks before sending a body is answered by the handler, before a byte of the body travels.
  server.on('checkContinue', handler)
  if (upgrade !== undefined) server.on('upgrade', upgrade)
  // Node begins to watch the header timeout when a server listens.
  server.emit('listening')
  return server
}

function trackSockets(tls: TlsServer): ReadonlySet<Socket> {
  const sockets = new Set<Socket>()
  tls.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => sockets.delete(socket))
  })
  return sockets
}

function bind(tls: TlsServer, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    tls.once('error', (error: NodeJS.ErrnoException) => reject(bindError(error, host, port)))
    tls.listen(port, host, () => {
      tls.removeAllListeners('error')
      tls.on('error', () => undefined)
      resolve(portOf(tls.address()))
    })
  })
}

function portOf(address: string | AddressInfo | null): number {
  if (address === null || typeof address === 'string') throw new TapestryError('INTERNAL', 'not a TCP address')
  return address.port
}

function bindError(cause: NodeJS.ErrnoException, host: string, port: number): TapestryError {
  const where = `${host}:${port}`
  switch (cause.code) {
    case 'EADDRINUSE':
      return new TapestryError('PORT_IN_USE', `${where} is in use`, {
        cause,
        hint: 'stop the other process, or choose another port (0 picks a free one)',
      })
    case 'EACCES':
      return new TapestryError('PERMISSION_DENIED', `not allowed to listen on ${where}`, {
        cause,
        hint: 'choose a port from 1024',
      })
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new TapestryError('INVALID_ARGUMENT', `${host} is not an address of this machine`, { cause })
    default:
      return new TapestryError('UNAVAILABLE', `cannot listen on ${where}`, { cause })
  }
}

async function close(
  tls: TlsServer,
  http: HttpServer,
  grpc: SocketServer,
  sockets: ReadonlySet<Socket>,
  graceMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => tls.close(() => resolve()))
  grpc.drain(graceMs)
  // A connection in keep-alive is idle as soon as its response is out.
  const idle = setInterval(() => http.closeIdleConnections(), 100)
  http.closeIdleConnections()
  const cut = setTimeout(() => {
    for (const socket of sockets) socket.destroy()
  }, graceMs)
  await closed
  clearTimeout(cut)
  clearInterval(idle)
  http.close()
  grpc.destroy()
}
