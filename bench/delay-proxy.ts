// A long way on one machine: forwards TCP connections to a port, every byte later by half of a round trip.
// In a process of its own, so that its work is nobody else's. Bandwidth is not limited.
import { connect, createServer, type Socket } from 'node:net'
import { z } from 'zod'

const { port, delayMs } = z.object({ port: z.number(), delayMs: z.number() }).parse(JSON.parse(process.argv[2] ?? ''))

/** Bytes under way in one direction: what a path of 4 Gbit/s and 150 ms holds is 75 MB. */
const MOST_UNDER_WAY = 96 * 2 ** 20

type Piece = { readonly due: number; readonly bytes: Buffer | undefined }

/** Hands on what arrives at `from`, `delayMs` later and in order; a slow receiver holds the sender back. */
function carry(from: Socket, to: Socket): void {
  const pieces: Piece[] = []
  let underWay = 0
  let timer: NodeJS.Timeout | undefined
  const deliver = () => {
    timer = undefined
    const now = performance.now()
    for (let piece = pieces[0]; piece !== undefined && piece.due <= now; piece = pieces[0]) {
      if (to.writableNeedDrain) {
        to.once('drain', deliver)
        return
      }
      pieces.shift()
      if (piece.bytes === undefined) to.end()
      else to.write(piece.bytes)
      underWay -= piece.bytes?.length ?? 0
    }
    if (underWay < MOST_UNDER_WAY) from.resume()
    const next = pieces[0]
    if (next !== undefined) timer = setTimeout(deliver, Math.max(1, next.due - performance.now()))
  }
  const take = (bytes: Buffer | undefined) => {
    pieces.push({ due: performance.now() + delayMs, bytes })
    underWay += bytes?.length ?? 0
    if (underWay >= MOST_UNDER_WAY) from.pause()
    if (timer === undefined && pieces.length === 1) timer = setTimeout(deliver, Math.max(1, delayMs))
  }
  from.on('data', take)
  from.on('end', () => take(undefined))
  from.on('error', () => to.destroy())
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  carry(near, far)
  carry(far, near)
})
server.listen(0, '127.0.0.1', () => {
  const address = z.object({ port: z.number() }).parse(server.address())
  process.send?.({ type: 'listening', port: address.port })
})
process.once('disconnect', () => process.exit(0))
