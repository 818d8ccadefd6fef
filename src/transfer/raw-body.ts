import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { BlockReader } from '../core/block-reader.ts'
import { TapestryError } from '../core/error.ts'

/** Handed on at once. A connection has up to three, so they are small: many senders have connections. */
const BLOCK_BYTES = 128 * 1024
/** How long a sender may go on before it has read why its body is not wanted. */
const LINGER_MS = 2000

/**
 * The body of a request whose connection was taken over, read past node:http, which makes two buffers of every 16 KiB
 * that TLS decrypts: making, passing on and collecting them costs more than decrypting does. Nothing is read before the
 * first block is asked for; a block stays as it is until the second one after it is asked for.
 */
export class RawBody implements AsyncIterable<Uint8Array> {
  readonly #socket: Socket
  readonly #head: Uint8Array
  readonly #reader: BlockReader
  #left: number
  #started = false
  #wanted = true

  /**
   * @param head what was read with the request's head.
   * @param length bytes of the body; what follows is ignored.
   */
  constructor(socket: Socket, head: Uint8Array, length: number) {
    this.#socket = socket
    this.#head = head
    this.#left = length
    this.#reader = new BlockReader(BLOCK_BYTES, () => socket.resume())
    socket.pause()
    const cut = () => this.#reader.end(new TapestryError('UNAVAILABLE', 'the sender went away'))
    socket.once('end', cut).once('close', cut)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    this.#start()
    yield* this.#reader.blocks()
  }

  /**
   * Ends the connection after its answer. To cut a sender in the middle of its body would lose the answer on the way
   * (RFC 9112, 9.6): what it still sends is thrown away for a moment.
   */
  end(): void {
    this.#wanted = false
    if (this.#left === 0) this.#socket.end()
    const cut = setTimeout(() => this.#socket.destroy(), LINGER_MS)
    this.#socket.once('close', () => clearTimeout(cut))
    this.#start()
  }

  #start(): void {
    if (!this.#started) {
      this.#started = true
      const more = [this.#head, this.#socket.read()].map((piece) => piece === null || this.#push(piece)).at(-1)
      const into = { room: () => this.#reader.room(), took: (length: number) => this.#took(length) }
      if (!readInto(this.#socket, into)) this.#socket.on('data', (piece) => this.#push(piece) || this.#socket.pause())
      if (!more) return
    }
    this.#socket.resume()
  }

  #push(piece: Uint8Array): boolean {
    const mine = piece.subarray(0, this.#left)
    return this.#count(mine.byteLength, !this.#wanted || this.#reader.push(mine))
  }

  #took(length: number): boolean {
    const mine = Math.min(length, this.#left)
    return this.#count(mine, !this.#wanted || this.#reader.took(mine))
  }

  /** @param more whether the reader has room. @returns whether to read on: after the last byte for the connection's end. */
  #count(length: number, more: boolean): boolean {
    if (this.#left === 0) return true
    this.#left -= length
    if (this.#left > 0) return more
    if (this.#wanted) this.#reader.end()
    else this.#socket.end()
    return true
  }
}

/**
 * Takes a connection over from node:http, which has handed it out with an `upgrade` event. The answer is the last thing
 * that is said on it.
 */
export function takeOver(request: IncomingMessage, socket: Socket, head: Uint8Array) {
  const response = new ServerResponse(request)
  response.assignSocket(socket)
  response.shouldKeepAlive = false
  // Node forgets its own listeners when it hands a connection out.
  socket.on('error', () => undefined).once('timeout', () => socket.destroy())
  const body = new RawBody(socket, head, Number(request.headers['content-length'] ?? 0))
  response.once('finish', () => body.end())
  return { response, body }
}

type Into = { room(): Uint8Array; took(length: number, buffer: Uint8Array): boolean }

/**
 * Has an open connection read into memory of ours. net.connect is told so by its option `onread`, which the connections
 * of a server cannot be given: what it would have set is set here.
 * @returns false where this version of Node has no such fields.
 */
export function readInto(socket: Socket, { room, took }: Into): boolean {
  const symbols = new Map(Object.getOwnPropertySymbols(socket).map((symbol) => [symbol.description, symbol]))
  const [buffer, next, call] = ['kBuffer', 'kBufferGen', 'kBufferCb'].map((name) => symbols.get(name))
  const handle: unknown = Reflect.get(socket, '_handle')
  if (buffer === undefined || next === undefined || call === undefined || !takesBuffers(handle)) return false
  const first = room()
  Reflect.set(socket, buffer, first)
  Reflect.set(socket, next, room)
  Reflect.set(socket, call, took)
  handle.useUserBuffer(first)
  return true
}

function takesBuffers(handle: unknown): handle is { useUserBuffer(buffer: Uint8Array): void } {
  if (typeof handle !== 'object' || handle === null) return false
  return 'useUserBuffer' in handle && typeof handle.useUserBuffer === 'function'
}
