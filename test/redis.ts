import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A Redis of its own on a free port, which keeps nothing. */
export type TestRedis = { readonly url: string; stop(): Promise<void> }

/** Redis is not among the npm packages: tests that need it are skipped by name where the program is missing. */
export const hasRedis = spawnSync('redis-server', ['--version']).status === 0

export async function testRedis(): Promise<TestRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'tapestry-test-redis-'))
  const port = await freePort()
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', directory])
  await ready(child)
  return { url: `redis://127.0.0.1:${port}`, stop: () => stop(child, directory) }
}

/** A port that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function ready(child: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (data) => {
      said += String(data)
      if (said.includes('Ready to accept connections')) resolve()
    })
    child.once('exit', () => reject(new Error(`redis-server ended: ${said}`)))
  })
}

async function stop(child: ChildProcess, directory: string): Promise<void> {
  if (child.exitCode === null && child.kill()) await once(child, 'exit')
  await rm(directory, { recursive: true, force: true })
}
