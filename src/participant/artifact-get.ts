import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { IDLE_MS } from './artifact.ts'
import { BlockReader } from './block-reader.ts'
import type { HttpsOrigin } from './channel.ts'
import { HttpsFailure, httpsFailure } from './https-request.ts'

/** The head of an answer, and its body as it comes. */
export type Answer = {
  readonly status: number
  /** By name in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: AsyncIterable<Uint8Array>
  /** Ends the connection, read or not. */
  close(): void
}

/** Ours are under 1 KiB. */
const MOST_HEAD_BYTES = 16 * 1024
/** TLS decrypts 16 KiB at a time. */
const READ_BYTES = 64 * 1024
const END_OF_HEAD = '\r\n\r\n'

/**
 * GETs an artifact over a connection of its own, received into one buffer that is used again: node:http makes a buffer
 * of every 16 KiB, and collecting those costs several times what decrypting does. The request is HTTP/1.0, so that an
 * answer is a head, then bytes until its length or the connection ends; the other end is the federation's coordinator,
 * as the pinned certificate proves, so nothing else is understood.
 * @returns once the head is here.
 * @throws HttpsFailure; the signal's reason.
 */
export function getArtifact(
  origin: HttpsOrigin,
  digest: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      const failure = signal?.aborted ? signal.reason : httpsFailure(cause)
      reject(failure)
      reader.end(failure)
      socket.destroy()
    }
    const reader = new BlockReader(() => socket.resume())
    const receiver = new Receiver(reader, ({ status, headers: given }) =>
      resolve({ status, headers: given, body: reader.blocks(), close: () => fail(new Error('not wanted')) }),
    )
    const socket = connectTo(origin, (bytes) => {
      try {
        return receiver.take(bytes)
      } catch (cause) {
        fail(cause)
        return false
      }
    })
    const abort = () => fail(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    socket.once('secureConnect', () => socket.write(requestText(origin, digest, headers)))
    socket.once('timeout', () => fail(new Error('the connection moved nothing for too long')))
    socket.on('error', fail)
    socket.once('end', () => socket.destroy())
    socket.once('close', () => {
      signal?.removeEventListener('abort', abort)
      if (receiver.endsHere) reader.end()
      fail(new Error('the connection broke'))
    })
    if (signal?.aborted) abort()
  })
}

function connectTo(origin: HttpsOrigin, take: (bytes: Uint8Array) => boolean): TLSSocket {
  const { host, port, tls } = origin
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const onread = { buffer, callback: (length: number) => take(buffer.subarray(0, length)) }
  // Not among the options that tls.connect is typed with; it hands them to its net.Socket.
  const options = { ...tls, host, port, onread, ...(isIP(host) === 0 && { servername: host }) }
  const socket = connect(options)
  socket.setTimeout(IDLE_MS)
  return socket
}

function requestText({ host, port }: HttpsOrigin, digest: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries({ Host: `${host}:${port}`, ...headers }).map(([name, value]) => `${name}: ${value}`)
  return [`GET /v1/artifacts/${digest} HTTP/1.0`, ...lines].join('\r\n') + END_OF_HEAD
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

  /** @returns false when the source should pause. @throws HttpsFailure */
  take(bytes: Uint8Array): boolean {
    const body = this.#head === undefined ? bytes : this.#takeHead(this.#head, bytes)
    const wanted = body.subarray(0, this.#left)
    this.#left -= wanted.byteLength
    const more = this.#reader.push(wanted)
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
