// A long way on one machine: forwards TCP connections to a port, every byte later by half of a round trip.
// In a process of its own, so that its work is nobody else's. Bandwidth is not limited.
import { connect, createServer, type Socket } from 'node:net'
import { z } from 'zod'
import { readInto } from '../src/transfer/raw-body.ts'

const { port, delayMs } = z.object({ port: z.number(), delayMs: z.number() }).parse(JSON.parse(process.argv[2] ?? ''))

/** Bytes under way in one direction: what a path of 4 Gbit/s and 150 ms holds is 75 MB. */
const MOST_UNDER_WAY = 96 * 2 ** 20

/** Read and handed on at once. The buffers are used again: the way must cost less than what travels it. */
const PIECE_BYTES = 64 * 1024
const BATCH_BYTES = 2 ** 20

/** What stands in the queue where the sender ended. */
const END = Buffer.alloc(0)

type Piece = { readonly due: number; readonly buffer: Uint8Array; readonly length: number }

/** Hands on what arrives at `from`, `delayMs` later and in order; a slow receiver holds the sender back. */
class Way {
  readonly #from: Socket
  readonly #to: Socket
  readonly #pieces: Piece[] = []
  readonly #free: Uint8Array[] = []
  #underWay = 0
  #waiting = false

  constructor(from: Socket, to: Socket) {
    this.#from = from
    this.#to = to
    from.on('end', () => this.took(0, END))
    from.on('error', () => to.destroy())
    if (!readInto(from, this)) throw new Error('this version of Node cannot read into given memory')
    from.resume()
  }

  readonly room = (): Uint8Array => this.#free.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES)

  /** @returns false when the sender is to wait. */
  readonly took = (length: number, buffer: Uint8Array): boolean => {
    this.#pieces.push({ due: performance.now() + delayMs, buffer, length })
    this.#underWay += length
    this.#wait()
    return this.#underWay < MOST_UNDER_WAY
  }

  #wait(): void {
    const next = this.#pieces[0]
    if (this.#waiting || next === undefined) return
    this.#waiting = true
    setTimeout(() => this.#deliver(), Math.max(1, next.due - performance.now()))
  }

  #deliver(): void {
    this.#waiting = false
    const now = performance.now()
    this.#to.cork()
    for (let piece = this.#pieces[0]; piece !== undefined && piece.due <= now; piece = this.#pieces[0]) {
      if (this.#to.writableLength >= BATCH_BYTES) break
      this.#pieces.shift()
      const { buffer, length } = piece
      if (buffer === END) this.#to.end()
      else this.#to.write(buffer.subarray(0, length), () => this.#handedOn(buffer, length))
    }
    this.#to.uncork()
    if (this.#to.writableLength < BATCH_BYTES) this.#wait()
  }

  #handedOn(buffer: Uint8Array, length: number): void {
    this.#free.push(buffer)
    const full = this.#underWay >= MOST_UNDER_WAY
    this.#underWay -= length
    if (full && this.#underWay < MOST_UNDER_WAY) this.#from.resume()
    this.#wait()
  }
}

const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (near) => {
  const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  far.once('connect', () => {
    new Way(near, far)
    new Way(far, near)
  })
  near.once('close', () => far.destroy())
})
server.listen(0, '127.0.0.1', () => {
  const address = z.object({ port: z.number() }).parse(server.address())
  process.send?.({ type: 'listening', port: address.port })
})
process.once('disconnect', () => process.exit(0))
