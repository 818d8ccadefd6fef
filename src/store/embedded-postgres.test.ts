import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'
import { isPostgres } from './postgres-lock.ts'

let home: string
let server: EmbeddedPostgres

const start = () => startEmbeddedPostgres(home, { durable: false })

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'embedded-'))
  const servers = await Promise.all([start(), start()])
  expect(servers.map(({ pid }) => pid)).toEqual([servers[0].pid, servers[0].pid])
  expect(servers.filter(({ started }) => started)).toHaveLength(1)
  server = servers[0]
})

afterAll(async () => {
  await server.stop()
  await rm(home, { recursive: true, force: true })
})

async function query(url: string, statement: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(statement)).rows
  } finally {
    await client.end()
  }
}

describe('the bundled PostgreSQL', () => {
  it('lets two starters share one server and leaves nothing aside', async () => {
    expect(await query(server.url, 'SELECT current_database() AS name')).toEqual([{ name: 'tapestry' }])
    expect((await readdir(home)).filter((name) => name.startsWith('postgres-new-'))).toEqual([])
  })

  it('asks for the password, which only its owner may read', async () => {
    const file = join(home, 'postgres', 'tapestry.password')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(server.url).toContain(await readFile(file, 'utf8'))
    const wrong = new URL(server.url)
    wrong.password = randomBytes(8).toString('hex')
    await expect(query(wrong.toString(), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' })
  })

  it('attaches to a server that runs', async () => {
    expect(await start()).toMatchObject({ pid: server.pid, started: false, url: server.url })
  })

  it('comes back after being killed, with what was committed and on the same port', async () => {
    await query(server.url, 'CREATE TABLE kept AS SELECT 1 AS value')
    process.kill(server.pid, 'SIGKILL')
    const again = await start()
    expect(again.pid).not.toBe(server.pid)
    expect(again.url).toBe(server.url)
    expect(await query(again.url, 'SELECT value FROM kept')).toEqual([{ value: 1 }])
    server = again
  })

  it('starts beside a lock whose number belongs to another program by now', async () => {
    const lock = join(home, 'postgres', 'postmaster.pid')
    const text = await readFile(lock, 'utf8')
    process.kill(server.pid, 'SIGKILL')
    while (isPostgres(server.pid)) await new Promise((resolve) => setTimeout(resolve, 10))
    await writeFile(lock, [String(process.ppid), ...text.split('\n').slice(1)].join('\n'))
    const again = await start()
    expect(again.started).toBe(true)
    server = again
  })

  it('takes another port when its own is in use, and stops more than once', async () => {
    await server.stop()
    await server.stop()
    expect(isPostgres(server.pid)).toBe(false)
    const squatter = createServer()
    const port = Number(new URL(server.url).port)
    await new Promise<void>((resolve) => squatter.listen(port, '127.0.0.1', resolve))
    const again = await start()
    await new Promise((resolve) => squatter.close(resolve))
    expect(new URL(again.url).port).not.toBe(String(port))
    expect(await query(again.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    server = again
  })

  it('refuses a directory of another major version', async () => {
    const version = join(home, 'postgres', 'PG_VERSION')
    const made = await readFile(version, 'utf8')
    await writeFile(version, '9\n')
    await expect(start()).rejects.toMatchObject({ code: 'DATA_VERSION' })
    await writeFile(version, made)
  })
})

const NOBODY = ['--reuid=65534', '--regid=65534', '--clear-groups']

/** What keeps the test below from becoming another account here, if anything does. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root to change accounts'
  if (!existsSync('/usr/bin/setpriv')) return 'needs setpriv'
  const own = fileURLToPath(import.meta.url)
  const seen = spawnSync('setpriv', [...NOBODY, 'test', '-r', own]).status === 0
  return seen ? undefined : 'needs a checkout that other accounts may read'
}

const hindrance = obstacle()
const account =
  hindrance === undefined ? 'under an ordinary account' : `under an ordinary account (skipped: ${hindrance})`

describe.skipIf(hindrance !== undefined)(account, () => {
  it('works the same', async () => {
    const own = await mkdtemp(join(tmpdir(), 'embedded-user-'))
    execFileSync('chown', ['65534:65534', own])
    // The module runs in a process of its own: an account is a property of a process.
    const module = new URL('./embedded-postgres.ts', import.meta.url).href
    const script = `const { startEmbeddedPostgres } = await import(${JSON.stringify(module)});
      const server = await startEmbeddedPostgres(${JSON.stringify(own)}, { durable: false });
      await server.stop(); console.log(server.started, process.getuid())`
    const tsx = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script]
    const env = { ...process.env, HOME: own, TMPDIR: own }
    const said = execFileSync('setpriv', [...NOBODY, ...tsx], { encoding: 'utf8', env })
    expect(said.trim()).toBe('true 65534')
    await rm(own, { recursive: true, force: true })
  })
})
