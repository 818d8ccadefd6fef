import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** Which bytes a fault strikes: `up` flows to the server, `down` to the client. */
export type Direction = 'up' | 'down'

/** What befalls a connection when so many bytes have passed in a direction. */
export type Fault = {
  readonly direction: Direction
  readonly afterBytes: number
  /**
   * `cut`: both ends are reset. `stall`: nothing moves in either direction for a while, then both ends are reset.
   * `truncate`: the rest is swallowed, and both ends are told an orderly end. `corrupt`: one bit is turned, and all goes on.
   * `half-open`: the sender's bytes are swallowed from here on while the other direction works, until `stallMs` are over.
   */
  readonly kind: 'cut' | 'stall' | 'truncate' | 'corrupt' | 'half-open'
}

export const FAULT_KINDS = [
  'cut',
  'stall',
  'truncate',
  'corrupt',
  'half-open',
] as const satisfies readonly Fault['kind'][]

/** A way to a port that breaks as told: TCP alone, so that TLS and everything above it meets real failures. */
export class FaultProxy {
  /** Faults of the connections to come, in order; connections beyond them are sound. */
  script: Fault[] = []
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  /** @param stallMs how long nothing moves before a connection that moves nothing is reset. */
  static async start(target: number, stallMs = 100): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('not a TCP address')
    const proxy = new FaultProxy(server, address.port)
    server.on('connection', (near) => proxy.#join(near, target, stallMs))
    return proxy
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(near: Socket, target: number, stallMs: number): void {
    const far = connect({ host: '127.0.0.1', port: target, allowHalfOpen: true })
    const fault = this.script.shift()
    const link: Link = { near, far, fault, stallMs }
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.on('error', () => reset(link))
      socket.once('close', () => this.#sockets.delete(socket))
    }
    carry(link, 'up', near, far)
    carry(link, 'down', far, near)
  }
}

type Link = { readonly near: Socket; readonly far: Socket; readonly fault: Fault | undefined; readonly stallMs: number }

function carry(link: Link, direction: Direction, from: Socket, to: Socket): void {
  const fault = link.fault?.direction === direction ? link.fault : undefined
  let passed = 0
  let struck = false
  from.on('data', (bytes: Buffer) => {
    if (struck && fault?.kind !== 'corrupt') return
    const sound = fault === undefined || struck ? bytes.length : Math.max(0, fault.afterBytes - passed)
    passed += bytes.length
    pass(from, to, bytes.subarray(0, sound))
    if (sound >= bytes.length || fault === undefined) return
    struck = true
    strike(link, fault, to, bytes.subarray(sound))
  })
  from.on('end', () => to.end())
}

function strike(link: Link, { kind }: Fault, to: Socket, rest: Buffer): void {
  switch (kind) {
    case 'cut':
      reset(link)
      break
    case 'truncate':
      link.near.end()
      link.far.end()
      break
    case 'corrupt':
      to.write(Buffer.from([(rest[0] ?? 0) ^ 1, ...rest.subarray(1)]))
      break
    case 'stall':
      link.near.pause()
      link.far.pause()
      resetLater(link)
      break
    case 'half-open':
      resetLater(link)
      break
  }
}

function pass(from: Socket, to: Socket, bytes: Buffer): void {
  if (bytes.length === 0 || to.destroyed || to.write(bytes)) return
  from.pause()
  to.once('drain', () => from.resume())
}

function resetLater(link: Link): void {
  setTimeout(() => reset(link), link.stallMs)
}

function reset({ near, far }: Link): void {
  near.resetAndDestroy()
  far.resetAndDestroy()
}
