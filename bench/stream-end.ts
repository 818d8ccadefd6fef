// The sending end of a loopback stream, for limits.ts: listens, over TCP or TLS, and sends what it is told to the
// first who connects.
import { createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { z } from 'zod'

const BLOCK_BYTES = 256 * 1024
const { bytes, certificate } = z
  .object({ bytes: z.number(), certificate: z.object({ key: z.string(), cert: z.string() }).optional() })
  .parse(JSON.parse(process.argv[2] ?? ''))

const block = Buffer.alloc(BLOCK_BYTES, 7)
let left = bytes

function send(socket: Socket): void {
  while (left > 0) {
    const piece = left < BLOCK_BYTES ? block.subarray(0, left) : block
    left -= piece.length
    if (!socket.write(piece)) {
      socket.once('drain', () => send(socket))
      return
    }
  }
  socket.end()
}

const take = (socket: Socket) => {
  socket.on('error', () => process.exit(0)).on('close', () => process.exit(0))
  process.once('message', () => send(socket))
}
const server = certificate ? createTlsServer({ ...certificate, minVersion: 'TLSv1.3' }, take) : createServer(take)
server.listen(0, '127.0.0.1', () => {
  const { port } = z.object({ port: z.number() }).parse(server.address())
  process.send?.({ type: 'listening', port })
})
process.once('disconnect', () => process.exit(0))
