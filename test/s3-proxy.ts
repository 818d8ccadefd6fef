import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'

/** What befalls a request: `cut` sends half of what the server answers and breaks off; `hold` answers nobody. */
export type Treatment = 'pass' | 'no-bucket' | 'unavailable' | 'cut' | 'hold'

/** A way to an S3 server on which single requests fail as they do on the way to a real one. */
export class S3Proxy {
  /** Asked for each request. */
  treat: (request: IncomingMessage) => Treatment = () => 'pass'
  /** `GET /bucket/key?...` of all that came, in order. */
  readonly seen: string[] = []
  readonly port: number
  readonly #server: Server

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  static async start(target: number): Promise<S3Proxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const proxy = new S3Proxy(server, address.port)
    server.on('request', (incoming, response) => proxy.#pass(incoming, response, target))
    return proxy
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #pass(incoming: IncomingMessage, response: ServerResponse, target: number): void {
    this.seen.push(`${incoming.method} ${incoming.url}`)
    const treatment = this.treat(incoming)
    incoming.on('error', () => undefined)
    response.on('error', () => undefined)
    if (treatment === 'no-bucket') refuse(incoming, response, 404, 'NoSuchBucket')
    else if (treatment === 'unavailable') refuse(incoming, response, 503, 'ServiceUnavailable')
    else if (treatment === 'hold') incoming.resume()
    else forward(incoming, response, target, treatment === 'cut')
  }
}

function refuse(incoming: IncomingMessage, response: ServerResponse, status: number, code: string): void {
  incoming.resume().once('end', () => {
    response.writeHead(status, { 'Content-Type': 'application/xml' })
    response.end(incoming.method === 'HEAD' ? '' : `<Error><Code>${code}</Code><Message>${code}</Message></Error>`)
  })
}

function forward(incoming: IncomingMessage, response: ServerResponse, target: number, cut: boolean): void {
  const { method, url, headers } = incoming
  const onward = request({ host: '127.0.0.1', port: target, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers)
    if (!cut) return void answer.pipe(response)
    const half = Number(answer.headers['content-length'] ?? 0) / 2
    let passed = 0
    answer.on('data', (bytes: Buffer) => {
      response.write(bytes)
      passed += bytes.length
      if (passed >= half) response.destroy()
    })
  })
  onward.on('error', () => response.destroy())
  response.on('close', () => onward.destroy())
  incoming.pipe(onward)
}
