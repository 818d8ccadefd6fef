import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type Server } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { createAuthority, issueServerCertificate } from '../identity/certificate-authority.ts'
import { ensureAddress } from './address.ts'
import { openConnection, requestHead } from './artifact-connection.ts'
import { type Channel, type HttpsOrigin, openChannel } from './channel.ts'
import { HttpsFailure, readText } from './https-failure.ts'

const authority = await createAuthority('Test', Date.now())
const own = await issueServerCertificate(authority, ['127.0.0.1'], Date.now())

let server: Server | undefined
let channel: Channel | undefined
let asked = ''

afterEach(() => {
  channel?.close()
  server?.close()
})

/** A server that says `text` to whoever asks, and ends. */
async function saying(text: string | Buffer, stay = false): Promise<Channel> {
  server = createServer({ key: own.key, cert: own.certificate, ALPNProtocols: ['http/1.1'] }, (socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (request) => {
      asked = request.toString()
      if (stay) socket.write(text)
      else socket.end(text)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  channel = openChannel(ensureAddress(`127.0.0.1:${port}`), authority.certificate)
  return channel
}

async function get(text: string | Buffer, stay?: boolean) {
  return ask((await saying(text, stay)).https)
}

async function ask(origin: HttpsOrigin, signal?: AbortSignal) {
  const connection = openConnection(origin, signal)
  await connection.write(requestHead(origin, 'GET /v1/artifacts/sha256:00 HTTP/1.0', { Range: 'bytes=5-' }))
  return connection.answered
}

describe('a connection for an artifact', () => {
  it('asks, and understands the answer', async () => {
    const answer = await get('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Odd:\t a: b \r\n\r\nabcdef')
    expect(asked).toMatch(
      /^GET \/v1\/artifacts\/sha256:00 HTTP\/1\.0\r\nHost: 127\.0\.0\.1:\d+\r\nRange: bytes=5-\r\n\r\n$/,
    )
    expect(answer.status).toBe(200)
    expect(answer.headers.get('x-odd')).toBe('a: b')
    expect(await readText(answer.body)).toBe('abc')
  })

  it('reads to the end of the connection where no length is given', async () => {
    expect(await readText((await get('HTTP/1.1 404 Not Found\r\n\r\n{"code":"NOT_FOUND"}')).body)).toContain(
      'NOT_FOUND',
    )
  })

  it.each([
    ['no answer', ''],
    ['another protocol', 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['a line that is no header', 'HTTP/1.1 200 OK\r\n: x\r\n\r\n'],
    ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
    ['a length beyond all files', 'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(20_000)}`],
  ])('fails on %s', async (_, text) => {
    await expect(get(text)).rejects.toBeInstanceOf(HttpsFailure)
  })

  it('hands out what came before a cut', async () => {
    const { body } = await get('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
    const pieces = body[Symbol.asyncIterator]()
    expect(Buffer.from((await pieces.next()).value ?? []).toString()).toBe('half')
    await expect(pieces.next()).rejects.toBeInstanceOf(HttpsFailure)
  })

  it('stops when told, before and in the middle', async () => {
    const stop = new AbortController()
    const { https } = await saying('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', true)
    const { body } = await ask(https, stop.signal)
    stop.abort(new Error('stop'))
    const pieces = body[Symbol.asyncIterator]()
    await pieces.next()
    await expect(pieces.next()).rejects.toThrow('stop')
    await expect(ask(https, stop.signal)).rejects.toThrow('stop')
  })
})
