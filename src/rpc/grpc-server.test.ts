import { once } from 'node:events'
import { type ClientHttp2Session, connect } from 'node:http2'
import { createServer, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { createGrpcServer, type SocketServer } from './grpc-server.ts'

const MIB = 2 ** 20
let tcp: Server
let grpc: SocketServer
let session: ClientHttp2Session

afterEach(async () => {
  session.destroy()
  grpc.destroy()
  await new Promise((resolve) => tcp.close(resolve))
})

async function open(): Promise<ClientHttp2Session> {
  grpc = createGrpcServer()
  tcp = createServer((socket) => grpc.accept(socket)).listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  const address = tcp.address()
  const port = typeof address === 'object' && address ? address.port : 0
  session = connect(`http://127.0.0.1:${port}`)
  await once(session, 'remoteSettings')
  // The answer to a ping comes after everything that the server said before.
  await new Promise<void>((resolve) => session.ping(() => resolve()))
  return session
}

describe('gRPC server', () => {
  it('gives senders wide windows and few streams', async () => {
    const { remoteSettings, state } = await open()
    expect(remoteSettings.initialWindowSize).toBe(8 * MIB)
    expect(remoteSettings.maxConcurrentStreams).toBe(64)
    expect(state.remoteWindowSize).toBe(16 * MIB)
  })

  it('says goodbye to idle connections when it drains', async () => {
    await open()
    const closed = once(session, 'close')
    grpc.drain(60_000)
    await closed
  })
})
