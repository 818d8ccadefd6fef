import { isIP, type OnReadOpts } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { BlockReader } from '../core/block-reader.ts'
import { BLOCK_BYTES, IDLE_MS } from './artifact.ts'
import type { HttpsOrigin } from './channel.ts'
import { HttpsFailure, httpsFailure } from './https-failure.ts'

/** The head of an answer, and its body as it comes. */
export type Answer = {
  readonly status: number
  /** By name in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: AsyncIterable<Uint8Array>
}

/** A connection for one request about an artifact, and its answer. */
export type ArtifactConnection = {
  readonly origin: HttpsOrigin
  /** Once the head of the answer is here. @throws HttpsFailure; the signal's reason. */
  readonly answered: Promise<Answer>
  /** Resolves when the bytes have left and may be changed. @throws when the connection is gone. */
  write(bytes: Uint8Array | string): Promise<void>
  /** Ends the connection, read or not. */
  close(cause?: unknown): void
}

/** Ours are under 1 KiB. */
const MOST_HEAD_BYTES = 16 * 1024
const END_OF_HEAD = '\r\n\r\n'

/**
 * Begins to connect. Bytes are received into blocks that are used again: node:http makes a buffer of every 16 KiB, and
 * collecting those costs several times what decrypting does. The other end is the federation's coordinator, as the
 * pinned certificate proves, so of HTTP no more is understood than a head, and bytes until its length or the
 * connection ends.
 */
export function openConnection(origin: HttpsOrigin, signal: AbortSignal | undefined): ArtifactConnection {
  const connected = deferred<void>()
  const answered = deferred<Answer>()
  const reader = new BlockReader(BLOCK_BYTES, () => socket.resume())
  const receiver = new Receiver(reader, (head) => answered.resolve({ ...head, body: reader.blocks() }))
  const fail = (cause: unknown) => {
    const failure = signal?.aborted ? signal.reason : httpsFailure(cause)
    connected.reject(failure)
    answered.reject(failure)
    reader.end(failure)
    socket.destroy()
  }
  const socket = connectTo(origin, reader, (bytes) => {
    try {
      return receiver.take(bytes)
    } catch (cause) {
      fail(cause)
      return false
    }
  })
  const abort = () => fail(signal?.reason)
  signal?.addEventListener('abort', abort, { once: true })
  socket.once('secureConnect', connected.resolve)
  socket.once('timeout', () => fail(new Error('the connection moved nothing for too long')))
  socket.on('error', fail)
  socket.once('end', () => socket.destroy())
  socket.once('close', () => {
    signal?.removeEventListener('abort', abort)
    if (receiver.endsHere) reader.end()
    fail(new Error('the connection broke'))
  })
  if (signal?.aborted) abort()
  const write = (bytes: Uint8Array | string) =>
    new Promise<void>((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve())))
  return {
    origin,
    answered: answered.promise,
    // Nothing is said to whom is not proved to be the coordinator.
    write: (bytes) => connected.promise.then(() => write(bytes)),
    close: (cause = new Error('not wanted')) => fail(cause),
  }
}

/** The head of a request, as text. */
export function requestHead(
  { host, port }: HttpsOrigin,
  line: string,
  headers: Readonly<Record<string, string | number>>,
): string {
  const lines = Object.entries({ Host: `${host}:${port}`, ...headers }).map(([name, value]) => `${name}: ${value}`)
  return [line, ...lines].join('\r\n') + END_OF_HEAD
}

function connectTo(origin: HttpsOrigin, reader: BlockReader, take: (bytes: Uint8Array) => boolean): TLSSocket {
  const { host, port, tls } = origin
  const onread: OnReadOpts = {
    buffer: () => reader.room(),
    callback: (length, buffer) => take(buffer.subarray(0, length)),
  }
  // Not among the options that tls.connect is typed with; it hands them to its net.Socket.
  const options = { ...tls, host, port, onread, ...(isIP(host) === 0 && { servername: host }) }
  const socket = connect(options)
  socket.setTimeout(IDLE_MS)
  return socket
}

/** A promise that is settled from outside. That nobody awaits it is no fault: a connection may turn out unneeded. */
function deferred<T>() {
  let resolve: (value: T) => void = () => undefined
  let reject: (cause: unknown) => void = () => undefined
  const promise = new Promise<T>((...settle) => {
    ;[resolve, reject] = settle
  })
  promise.catch(() => undefined)
  return { promise, resolve, reject }
}

type Head = Pick<Answer, 'status' | 'headers'>

/** Tells an answer's head from its body, and where that ends. */
class Receiver {
  readonly #reader: BlockReader
  readonly #onHead: (head: Head) => void
  #head: Buffer | undefined = Buffer.alloc(0)
  #left = Number.POSITIVE_INFINITY

  constructor(reader: BlockReader, onHead: (head: Head) => void) {
    this.#reader = reader
    this.#onHead = onHead
  }

  /** True when the end of the connection is a proper end of the body. */
  get endsHere(): boolean {
    return this.#head === undefined && this.#left === Number.POSITIVE_INFINITY
  }

  /** @param bytes in the reader's room. @returns false when the source should pause. @throws HttpsFailure */
  take(bytes: Uint8Array): boolean {
    const inPlace = this.#head === undefined
    const body = this.#head === undefined ? bytes : this.#takeHead(this.#head, bytes)
    const wanted = body.subarray(0, this.#left)
    this.#left -= wanted.byteLength
    const more = inPlace ? this.#reader.took(wanted.byteLength) : this.#reader.push(wanted)
    if (this.#left === 0) this.#reader.end()
    return more
  }

  #takeHead(before: Buffer, bytes: Uint8Array): Uint8Array {
    const all = Buffer.concat([before, bytes])
    const end = all.indexOf(END_OF_HEAD)
    if (end > MOST_HEAD_BYTES || (end === -1 && all.length > MOST_HEAD_BYTES)) throw new HttpsFailure('a head too long')
    this.#head = end === -1 ? all : undefined
    if (end === -1) return all.subarray(0, 0)
    const head = parseHead(all.toString('latin1', 0, end))
    const length = head.headers.get('content-length')
    if (length !== undefined) this.#left = wholeNumber(length)
    this.#onHead(head)
    return all.subarray(end + END_OF_HEAD.length)
  }
}

/** RFC 9112, sections 4 and 5. @throws HttpsFailure */
function parseHead(text: string): Head {
  const [first = '', ...lines] = text.split('\r\n')
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1]
  if (status === undefined) throw new HttpsFailure('not an answer of HTTP/1')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) throw new HttpsFailure('a line of the head that is none')
    headers.set(name.toLowerCase(), value)
  }
  return { status: Number(status), headers }
}

/** @throws HttpsFailure */
export function wholeNumber(digits: string): number {
  const value = /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN
  if (Number.isSafeInteger(value)) return value
  throw new HttpsFailure('an impossible size')
}
