import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { parseInvitation } from '../../src/identity/invitation.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'
import { homeEnvironment, tapestry, tapestryJson } from './processes.ts'
import { until } from './waiting.ts'

const BIN = fileURLToPath(new URL('../../bin/tapestry', import.meta.url))

let home: string
let database: TestDatabase

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tapestry-secrets-'))
  database = await testDatabase()
})

afterAll(async () => {
  await database?.drop()
  await rm(home, { recursive: true, force: true })
})

/** A coordinator that says everything it can say, with all that it wrote. */
function serve(env: NodeJS.ProcessEnv) {
  const args = [BIN, 'coordinator', 'serve', '--dir', join(home, 'coordinator'), '--port', '0', '--workers', '0']
  const child = spawn(process.execPath, [...args, '--log-level', 'trace', '--json'], {
    env: { ...homeEnvironment(home), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const written: string[] = []
  const lines: string[] = []
  child.stderr.on('data', (bytes: Buffer) => written.push(bytes.toString('utf8')))
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return {
    ended,
    written: () => written.join(''),
    address: () =>
      until('it serves', () => lines.map((line) => z.object({ address: z.string() }).parse(JSON.parse(line)))[0]),
    stop() {
      child.kill('SIGTERM')
      return ended
    },
  }
}

/** Lines of a PEM body, and text in the forms in which it could be written. */
function formsOf(secret: string): string[] {
  if (!secret.includes('-----BEGIN'))
    return [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')]
  return secret.split('\n').filter((line) => line.length > 40 && !line.startsWith('---'))
}

test('no key, password or invitation is ever logged, whatever happens', async () => {
  await tapestryJson(z.unknown(), ['coordinator', 'init', '--dir', join(home, 'coordinator')], { home })
  const password = new URL(database.url).password
  const coordinator = serve({ DATABASE_URL: database.url })
  const { address } = await coordinator.address()
  const options = ['--dir', join(home, 'coordinator')]
  const { invitation } = await tapestryJson(
    z.object({ invitation: z.string() }),
    ['invite', 'create', '--member', 'someone', ...options],
    { home },
  )
  await writeFile(join(home, 'invitation'), invitation)
  const texts = join(home, 'texts')
  await mkdir(texts)
  await writeFile(join(texts, 'en.txt'), Array.from({ length: 50 }, (_, i) => `some words of line ${i}\n`).join(''))
  await tapestryJson(z.unknown(), ['node', 'init', '--dir', join(home, 'node'), '--data', texts, '--name', 'N'], {
    home,
  })
  const joining = ['node', 'join', '--dir', join(home, 'node'), '--invitation-file', join(home, 'invitation')]
  await tapestryJson(z.unknown(), joining, { home })
  // Things that go wrong: a used invitation, a stranger at an operator's method, rubbish over HTTPS.
  await tapestryJson(z.unknown(), ['node', 'init', '--dir', join(home, 'late'), '--data', texts, '--name', 'L'], {
    home,
  })
  const late = await tapestry([...joining.slice(0, 3), join(home, 'late'), ...joining.slice(4)], { home })
  expect(late.code).toBe(4)
  await tapestry(['models', 'ls', '--from', address, '--trust', `sha256:${'0'.repeat(64)}`], { home })
  expect(await coordinator.stop()).toBe(143)
  const wrong = new URL(database.url)
  wrong.password = 'wrong-password-of-the-test'
  const refused = serve({ DATABASE_URL: wrong.toString() })
  expect(await refused.ended).toBe(4)

  const text = coordinator.written() + refused.written()
  // The log did say something, of this very coordinator.
  expect(text).toContain(address)
  expect(text).toContain('INVITATION_USED')
  const keys = await Promise.all(
    ['coordinator', 'node'].map(async (owner) => {
      const folder = join(home, owner, 'keys')
      const names = (await readdir(folder)).filter((name) => /\.(key|pem)$/.test(name))
      return Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
    }),
  )
  const { secret } = parseInvitation(invitation)
  const secrets = [
    password,
    'wrong-password-of-the-test',
    invitation,
    Buffer.from(secret).toString('base64url'),
    Buffer.from(secret).toString('hex'),
    ...keys.flat(),
  ]
  for (const form of secrets.flatMap(formsOf)) expect(text.includes(form), form.slice(0, 12)).toBe(false)
})
