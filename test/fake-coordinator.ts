import { once } from 'node:events'
import { createServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { create, type DescMethod, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { digestOf } from '../src/core/digest.ts'
import { TapestryError } from '../src/core/error.ts'
import { type RequestOf, type Service, serviceDefinition } from '../src/core/grpc-service.ts'
import type { FederationId } from '../src/core/ids.ts'
import { keyIdOf, privateKeyFromPem, publicKeyFromPem, type Signature } from '../src/core/signature.ts'
import { ArtifactService } from '../src/gen/proto/tapestry/v1/artifact_pb.ts'
import { EnrollmentService } from '../src/gen/proto/tapestry/v1/enrollment_pb.ts'
import {
  type Authority,
  createAuthority,
  federationIdOf,
  issueServerCertificate,
} from '../src/identity/certificate-authority.ts'
import { generateKey } from '../src/identity/key-file.ts'
import type { SignedLogRecord } from '../src/ledger/log-record.ts'
import { signFederationRecord } from '../src/model/federation-record.ts'
import { signatureMessage } from '../src/participant/wire.ts'
import { grpcFailure } from '../src/rpc/status.ts'

type Handler<M extends DescMethod> = (
  request: RequestOf<M>,
  node: string | undefined,
) => Promise<MessageInitShape<M['output']>> | MessageInitShape<M['output']>

type UploadRequest = RequestOf<typeof ArtifactService.method.uploadArtifact>
type DownloadRequest = RequestOf<typeof ArtifactService.method.downloadArtifact>

type Faults = {
  /** Each PUT, or upload stream, is cut after so many bytes; the next in the list applies to the next. */
  cutUploads: number[]
  /** Each GET, or download stream, is cut after so many bytes. */
  cutDownloads: number[]
  /** What HTTPS answers instead of doing its work. */
  httpStatus: number | undefined
  /** Changes what a download sends. */
  tamper: ((bytes: Buffer) => Buffer) | undefined
}

/**
 * A coordinator's wire with nothing behind it: one TLS port for gRPC and HTTPS, artifacts in memory, faults on demand.
 * Tests add the services they need.
 */
export class FakeCoordinator {
  readonly authority: Authority
  readonly federation: FederationId
  readonly releaseKey = generateKey('p-256')
  readonly record: { readonly bytes: Uint8Array; readonly signature: Signature }
  /** Announced with the federation; see test/fake-log.ts. */
  logRecord: SignedLogRecord | undefined
  readonly blobs: Map<string, Buffer>
  readonly partials: Map<string, Buffer>
  readonly sizes: Map<string, number>
  readonly faults: Faults = { cutUploads: [], cutDownloads: [], httpStatus: undefined, tamper: undefined }
  /** What was asked, in order: `PUT 0`, `GET 100`, `stream 5`. */
  readonly log: string[] = []
  #port = 0
  #tls: TlsServer | undefined
  #grpc = new Server()
  #http: HttpServer = createServer((request, response) => this.#serve(request, response))
  readonly #sockets = new Set<TLSSocket>()

  private constructor(authority: Authority, shared: Pick<FakeCoordinator, 'blobs' | 'partials' | 'sizes'>) {
    this.authority = authority
    this.blobs = shared.blobs
    this.partials = shared.partials
    this.sizes = shared.sizes
    this.federation = federationIdOf(authority.certificate)
    const { publicKey } = this.releaseKey
    this.record = signFederationRecord(
      {
        format: 'tapestry-federation/1',
        id: this.federation,
        name: 'Test federation',
        caCertificate: authority.certificate,
        releaseKeys: [{ keyId: keyIdOf(publicKeyFromPem(publicKey)), publicKey }],
      },
      privateKeyFromPem(authority.key),
    )
  }

  /** @param replica one of the same federation, which it shares its artifacts with. */
  static async create(replica?: FakeCoordinator): Promise<FakeCoordinator> {
    const authority = replica?.authority ?? (await createAuthority('Test federation', Date.now()))
    const fake = new FakeCoordinator(authority, replica ?? { blobs: new Map(), partials: new Map(), sizes: new Map() })
    fake.unary(EnrollmentService, {
      getFederation: () => ({
        record: fake.record.bytes,
        signature: signatureMessage(fake.record.signature),
        ...(fake.logRecord && { log: fake.logRecord.bytes, logSignature: signatureMessage(fake.logRecord.signature) }),
      }),
    })
    fake.#addArtifacts()
    return fake
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`
  }

  /** Registers some methods of a service; the others are unimplemented. `node` is the caller's certificate identity. */
  unary<S extends Service>(
    service: S,
    handlers: { [K in keyof S['method']]?: Handler<S['method'][K]> },
    streams: UntypedServiceImplementation = {},
  ): void {
    const implementation: UntypedServiceImplementation = { ...streams }
    for (const [name, handler] of Object.entries(handlers)) {
      const method = service.method[name]
      if (method === undefined || typeof handler !== 'function') continue
      const handle: handleUnaryCall<unknown, unknown> = (call, callback) => answer(method, handler, call, callback)
      implementation[name] = handle
    }
    const definition: Record<string, MethodDefinition<object, object>> = {}
    for (const [name, method] of Object.entries(serviceDefinition(service))) {
      if (name in implementation) definition[name] = method
    }
    this.#grpc.addService(definition, implementation)
  }

  async listen(port = 0): Promise<void> {
    const server = await issueServerCertificate(this.authority, ['localhost', '127.0.0.1'], Date.now())
    const injector = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure())
    const tls = createTlsServer({
      key: server.key,
      cert: `${server.certificate}\n${this.authority.certificate}`,
      ca: this.authority.certificate,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2', 'http/1.1'],
    })
    tls.on('secureConnection', (socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.#sockets.delete(socket))
      if (socket.alpnProtocol === 'h2') injector.injectConnection(socket)
      else this.#http.emit('connection', socket)
    })
    tls.on('tlsClientError', () => undefined)
    tls.listen(port, '127.0.0.1')
    await once(tls, 'listening')
    this.#tls = tls
    this.#port = (tls.address() as AddressInfo).port
  }

  /** Cuts every connection; new ones are taken. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.cutAll()
    this.#grpc.forceShutdown()
    this.#http.close()
    const tls = this.#tls
    if (tls !== undefined) await new Promise((resolve) => tls.close(resolve))
  }

  put(bytes: Uint8Array): string {
    const digest = digestOf(bytes)
    this.blobs.set(digest, Buffer.from(bytes))
    return digest
  }

  #addArtifacts(): void {
    const uploadArtifact: handleClientStreamingCall<UploadRequest, unknown> = (call, done) => this.#take(call, done)
    const downloadArtifact: handleServerStreamingCall<DownloadRequest, unknown> = (call) => this.#give(call)
    this.unary(
      ArtifactService,
      { announceArtifact: ({ digest, size }) => this.#announce(digest, Number(size)) },
      { uploadArtifact, downloadArtifact },
    )
  }

  #announce(digest: string, size: number) {
    if (this.blobs.has(digest)) return { offset: BigInt(size), complete: true }
    this.sizes.set(digest, size)
    return { offset: BigInt(this.#partial(digest).length), complete: false }
  }

  #partial(digest: string): Buffer {
    return this.partials.get(digest) ?? Buffer.alloc(0)
  }

  #append(digest: string, chunk: Uint8Array): void {
    this.partials.set(digest, Buffer.concat([this.#partial(digest), chunk]))
  }

  #complete(digest: string): boolean {
    const bytes = this.#partial(digest)
    if (bytes.length !== this.sizes.get(digest)) return false
    this.partials.delete(digest)
    if (digestOf(bytes) !== digest) throw new TapestryError('VERIFICATION_FAILED', 'another digest')
    this.blobs.set(digest, bytes)
    return true
  }

  async #take(call: ServerReadableStream<UploadRequest, unknown>, callback: sendUnaryData<unknown>): Promise<void> {
    let digest = ''
    try {
      for await (const message of call) {
        if (digest === '') {
          digest = message.digest
          this.log.push(`stream ${message.offset}`)
        }
        this.#append(digest, message.data)
      }
      const complete = this.#complete(digest)
      const { output } = ArtifactService.method.uploadArtifact
      callback(null, create(output, { offset: BigInt(this.#partial(digest).length), complete }))
    } catch (error) {
      callback(grpcFailure(error))
    }
  }

  #give(call: ServerWritableStream<DownloadRequest, unknown>): void {
    const { digest, offset } = call.request
    const bytes = this.#outgoing(digest)
    this.log.push(`receive ${offset}`)
    if (bytes === undefined) {
      call.emit('error', grpcFailure(new TapestryError('NOT_FOUND', 'no such artifact')))
      return
    }
    const { output } = ArtifactService.method.downloadArtifact
    const cut = this.faults.cutDownloads.shift()
    const end = cut === undefined ? bytes.length : Math.min(bytes.length, Number(offset) + cut)
    for (let at = Number(offset); at < end; at += 65_536) {
      const data = bytes.subarray(at, Math.min(end, at + 65_536))
      call.write(create(output, { size: BigInt(bytes.length), offset: BigInt(at), data }))
    }
    call.end()
  }

  #outgoing(digest: string): Buffer | undefined {
    const bytes = this.blobs.get(digest)
    return bytes && (this.faults.tamper?.(bytes) ?? bytes)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => undefined)
    const { httpStatus } = this.faults
    if (httpStatus !== undefined) {
      response.writeHead(httpStatus, { 'content-type': 'text/html', connection: 'close' }).end('<h1>no</h1>')
      return
    }
    const digest = decodeURIComponent((request.url ?? '').replace('/v1/artifacts/', ''))
    if (request.method === 'PUT') await this.#receivePut(request, response, digest)
    else this.#sendGet(request, response, digest)
  }

  async #receivePut(request: IncomingMessage, response: ServerResponse, digest: string): Promise<void> {
    const start = Number(/^bytes (\d+)-/.exec(request.headers['content-range'] ?? '')?.[1])
    this.log.push(`PUT ${start}`)
    if (start !== this.#partial(digest).length) {
      response.writeHead(409, { 'Tapestry-Offset': String(this.#partial(digest).length) }).end()
      return
    }
    const cut = this.faults.cutUploads.shift() ?? Number.POSITIVE_INFINITY
    let taken = 0
    try {
      for await (const chunk of request) {
        const piece: Buffer = chunk.subarray(0, cut - taken)
        this.#append(digest, piece)
        taken += piece.length
        if (taken >= cut) request.socket.destroy()
      }
      this.#complete(digest)
      response.writeHead(200).end()
    } catch (error) {
      if (response.headersSent || request.socket.destroyed) return
      const code = error instanceof TapestryError ? error.code : 'INTERNAL'
      this.#problem(response, 422, code)
    }
  }

  #sendGet(request: IncomingMessage, response: ServerResponse, digest: string): void {
    const bytes = this.#outgoing(digest)
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    this.log.push(`GET ${start}`)
    if (bytes === undefined) {
      this.#problem(response, 404, 'NOT_FOUND')
      return
    }
    if (start > 0 && start >= bytes.length) {
      response.writeHead(416).end()
      return
    }
    const cut = this.faults.cutDownloads.shift()
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': bytes.length - start,
      ...(start > 0 && { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
    })
    if (cut === undefined) {
      response.end(bytes.subarray(start))
      return
    }
    response.write(bytes.subarray(start, start + cut), () => setImmediate(() => request.socket.destroy()))
  }

  #problem(response: ServerResponse, status: number, code: string): void {
    response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify({ status, code }))
  }
}

function answer(
  method: DescMethod,
  handler: (request: never, node: string | undefined) => unknown,
  call: ServerUnaryCall<unknown, unknown>,
  callback: sendUnaryData<unknown>,
): void {
  const names = call.getAuthContext().sslPeerCertificate?.subjectaltname
  const node = /\/node\/(node-[0-9a-f]{32})/.exec(names ?? '')?.[1]
  Promise.resolve()
    .then(() => handler(call.request as never, node))
    .then(
      (value) => callback(null, create(method.output, value as never)),
      (error) => callback(grpcFailure(error)),
    )
}
