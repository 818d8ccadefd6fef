import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { initCoordinator, openCoordinatorDirectory } from '../../src/cli/coordinator-directory.ts'
import { openCoordinator } from '../../src/cli/coordinator-parts.ts'
import { systemClock } from '../../src/core/clock.ts'
import { EnrollmentService } from '../../src/gen/proto/tapestry/v1/enrollment_pb.ts'
import { issueClientCertificate } from '../../src/identity/certificate-authority.ts'
import { nodeIdOf } from '../../src/identity/genesis.ts'
import { createInvitation } from '../../src/identity/invitation.ts'
import { generateKey, publicKeyOf } from '../../src/identity/key-file.ts'
import { parseEntry } from '../../src/ledger/entry.ts'
import { joinFederation } from '../../src/participant/enrolment.ts'
import { createNodeDirectory } from '../../src/participant/node-directory.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openStore } from '../../src/store/prisma-store.ts'
import { FakeCoordinator } from '../fake-coordinator.ts'
import { FakeLog } from '../fake-log.ts'
import { FakeRounds } from '../fake-rounds.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'
import { Service } from './processes.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-log-start-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

describe('a coordinator from before there was a log', () => {
  const dir = () => join(root, 'coordinator')
  const keyPath = () => join(dir(), 'keys', 'log.key')
  let database: TestDatabase
  afterAll(() => database.drop())

  const start = () =>
    openCoordinator({ dir: dir(), flags: {}, env: { DATABASE_URL: database.url }, clock: systemClock, log: quiet })
  const quiet = pino({ level: 'silent' })

  test('gets a key and a log at its next start, however many processes start at once', async () => {
    await initCoordinator({ dir: dir(), name: 'Old', settings: {}, now: systemClock.now() })
    await rm(keyPath())
    database = await testDatabase()
    await migrate(database.url)
    const before = await openStore({ url: database.url })
    const { federation } = await openCoordinatorDirectory(dir())
    await rm(keyPath())
    await before.transact('as it was', (tx) => tx.createFederation(federation))
    const processes = await Promise.all([start(), start(), start()])
    await before.numberEntries()
    const entries = (await before.reader.ledgerEntries(0, 10)).map(parseEntry)
    expect(entries).toMatchObject([{ type: 'log-opened', federation: federation.id }])
    expect(new Set(processes.map(({ secrets }) => secrets.logKey)).size).toBe(1)
    expect((await stat(keyPath())).mode & 0o777).toBe(0o600)
    for (const { context } of processes) await context.store.close()
    await before.close()
  })

  test('does not serve the log with another key', async () => {
    const key = await readFile(keyPath(), 'utf8')
    await writeFile(keyPath(), generateKey('ed25519').privateKey)
    await expect(start()).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await writeFile(keyPath(), key)
    const parts = await start()
    await parts.context.store.close()
  })
})

describe('tapestry node run at a coordinator that lies', () => {
  test('exits with 5 at a forked log, and again when it is started again', async () => {
    const fake = await FakeCoordinator.create()
    const log = new FakeLog(fake)
    const rounds = new FakeRounds(fake)
    fake.unary(EnrollmentService, {
      enroll: async ({ genesis, certificateRequest }) => {
        const identity = { kind: 'node', node: nodeIdOf(genesis) } as const
        const certificate = await issueClientCertificate(fake.authority, certificateRequest, identity, Date.now())
        return { node: identity.node, member: 'archive', certificate }
      },
    })
    await fake.listen()
    const directory = await createNodeDirectory(join(root, 'node'), { name: 'Lamu Archive', sources: [] })
    const invitation = createInvitation(Buffer.alloc(32, 7), fake.address, fake.federation)
    await joinFederation(directory, invitation, systemClock)
    rounds.nodeKey = publicKeyOf((await directory.readKey('node.key')) ?? '')
    rounds.automatic = false
    log.fill(9)
    const run = () => new Service('node', ['node', 'run', '--dir', directory.root], { home: root })
    const first = run()
    await first.line('is connected', ({ type }) => type === 'connected')
    log.rewrite(3)
    fake.cutAll()
    expect(await first.exited).toBe(5)
    expect(first.stderr).toContain('LEDGER_INCONSISTENT')
    expect(first.stderr).toContain('evidence-')
    expect(await run().exited).toBe(5)
    expect(rounds.calls.filter((call) => call !== 'join 1')).toEqual([])
    await fake.close()
  })
})
