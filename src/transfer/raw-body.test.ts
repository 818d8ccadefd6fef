import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeOver } from './raw-body.ts'

type Received = { readonly bytes: Buffer; readonly error: unknown }

/** Called with what came of each body. */
let received: (body: Received) => void = () => undefined
let prepare: (socket: Socket) => void = () => undefined
let server: Server

beforeAll(async () => {
  server = createServer()
  server.on('upgrade', async (request, socket, head) => {
    if (!(socket instanceof Socket)) return
    prepare(socket)
    const { response, body } = takeOver(request, socket, head)
    const blocks: Buffer[] = []
    let error: unknown
    try {
      for await (const block of body) blocks.push(Buffer.from(block))
    } catch (cause) {
      error = cause
    }
    received({ bytes: Buffer.concat(blocks), error })
    response.end('taken')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => server.close())

/** Sends `bytes` in pieces after the head of a request that says how many come. @returns what the server took, and what it answered. */
async function send(
  bytes: Buffer,
  pieces: readonly number[],
  said = bytes.length,
): Promise<Received & { answer: string }> {
  const taken = new Promise<Received>((resolve) => {
    received = resolve
  })
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  let answer = ''
  socket.on('data', (text) => (answer += text)).on('error', () => undefined)
  socket.write(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${said}\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n`)
  let at = 0
  for (const length of pieces) {
    await new Promise((resolve) => socket.write(bytes.subarray(at, at + length), resolve))
    at += length
  }
  if (said > bytes.length) socket.write(bytes.subarray(at), () => socket.end())
  else socket.write(bytes.subarray(at))
  await once(socket, 'close')
  return { ...(await taken), answer }
}

describe.each([
  ['memory of ours', () => undefined],
  [
    'events, where Node lets nobody say where to',
    (socket: Socket) => void Object.assign(Reflect.get(socket, '_handle'), { useUserBuffer: undefined }),
  ],
])('a raw body read into %s', (_, prepared) => {
  beforeAll(() => {
    prepare = prepared
  })

  it('is what was sent, however it was cut, and nothing of what follows', async () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 500_000 }), pieces, fc.boolean(), async (size, cuts, more) => {
        const bytes = Buffer.alloc(size + (more ? 10 : 0), 'once upon a time')
        const { bytes: found, error, answer } = await send(bytes, cuts, size)
        expect(found.equals(bytes.subarray(0, size))).toBe(true)
        expect(error).toBeUndefined()
        expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n.*taken$/s)
      }),
      { numRuns: 15, seed: 7 },
    )
  })

  it('ends with a coded failure where the sender goes away, after all that came', async () => {
    const bytes = Buffer.alloc(300_000, 'half')
    const { bytes: found, error } = await send(bytes, [1], 400_000)
    expect(found.equals(bytes)).toBe(true)
    expect(error).toMatchObject({ code: 'UNAVAILABLE' })
  })
})
