import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { pythonProgram } from './python.ts'

const SCRIPT = fileURLToPath(new URL('./grpcio_peer.py', import.meta.url))

export type Direction = 'upload' | 'download'

/** A server on Python's grpcio, which is what Flower moves its bytes with. */
export type GrpcioServer = {
  readonly port: number
  /** Seconds to move so many bytes in one stream, connecting included. @param port of a proxy before the server. */
  move(direction: Direction, port: number, bytes: number): Promise<number>
  stop(): void
}

/** @param tls makes it listen under TLS, with a certificate that it writes into `directory`. */
export async function startGrpcio(directory: string, { tls }: { readonly tls: boolean }): Promise<GrpcioServer> {
  const certificate = tls ? [join(directory, 'grpcio.pem')] : []
  const python = pythonProgram('python')
  const server = spawn(python, [SCRIPT, 'serve', ...certificate], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line]: unknown[] = await Promise.race([
    once(server.stdout, 'data'),
    once(server, 'exit').then(() => Promise.reject(new Error('the grpcio server did not start'))),
  ])
  return {
    port: Number(String(line)),
    async move(direction, port, bytes) {
      const args = [SCRIPT, direction, String(port), String(bytes), ...certificate]
      return Number((await promisify(execFile)(python, args)).stdout)
    },
    stop: () => void server.stdin.end(),
  }
}
