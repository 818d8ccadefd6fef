import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { MICRO_SPEC } from '../network.ts'
import { Service, tapestry, tapestryJson } from './processes.ts'
import { writeTexts } from './texts.ts'
import { mayMount, mountTinyDisk } from './tiny-disk.ts'

const MAY_MOUNT = await mayMount()

let home: string
let coordinator: Service
let address: string
let federation: string
const at = (...names: string[]) => join(home, ...names)
const dir = () => ['--dir', at('coordinator')]
const stranger = () => ['--from', address, '--trust', federation]

const errorSchema = z.strictObject({
  error: z.strictObject({
    code: z.string(),
    message: z.string().min(1),
    hint: z.string().optional(),
    requestId: z.string().optional(),
  }),
})

/** How a command with --json fails: exit code and error code; stdout stays empty. */
async function failure(args: readonly string[], input = ''): Promise<{ exit: number | null; code: string }> {
  const { code, stdout, stderr } = await tapestry([...args, '--json'], { home, input })
  expect(stdout).toBe('')
  const line = stderr.trim().split('\n').at(-1) ?? ''
  return { exit: code, code: errorSchema.parse(JSON.parse(line)).error.code }
}

/** Runs a command both ways. @returns what it says to programs. */
async function answer<T>(schema: z.ZodType<T>, args: readonly string[]): Promise<T> {
  const text = await tapestry(args, { home })
  expect(text, text.stderr).toMatchObject({ code: 0 })
  expect(text.stdout.trim()).not.toBe('')
  expect(() => JSON.parse(text.stdout)).toThrow()
  return tapestryJson(schema, args, { home })
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tapestry-cli-'))
  await writeFile(at('plan.json'), JSON.stringify(MICRO_SPEC))
  await writeTexts(at('text-one'), 'one', ['sw'])
  await writeTexts(at('text-two'), 'two', ['fr', 'vi'])
  const made = z.looseObject({ federation: z.string(), directory: z.string() })
  expect((await failure(['run', 'ls', ...dir()])).exit).toBe(3)
  const init = await tapestryJson(made, ['coordinator', 'init', ...dir(), '--name', 'Test'], { home })
  federation = init.federation
  expect(await failure(['run', 'ls', ...dir()])).toEqual({ exit: 6, code: 'UNAVAILABLE' })
  coordinator = new Service('coordinator', ['coordinator', 'serve', ...dir(), '--port', '0'], { home })
  const serving = await coordinator.line('serves', (line) => 'address' in line)
  expect(serving).toMatchObject({ federation })
  address = String(serving['address'])
})

afterAll(async () => {
  await coordinator?.kill()
  await stopDatabase(at('coordinator'))
  await rm(home, { recursive: true, force: true })
})

/** The database outlives a killed coordinator: one that starts and stops in order takes it along. */
async function stopDatabase(directory: string): Promise<void> {
  const last = new Service('coordinator', ['coordinator', 'serve', '--dir', directory, '--port', '0'], { home })
  await last.line('serves', (line) => 'address' in line)
  await last.stop()
}

describe('from nothing to a released model', () => {
  test('two nodes join, one in one step and one in two', async () => {
    const invited = z.strictObject({ invitation: z.string(), member: z.string(), expiresMs: z.number() })
    const invite = () => tapestryJson(invited, ['invite', 'create', '--member', 'acme', ...dir()], { home })
    const joined = await tapestry(
      ['node', 'join', '--dir', at('one'), '--data', at('text-one'), '--name', 'one', '--invitation-file', '-'],
      { home, input: `${(await invite()).invitation}\n` },
    )
    expect(joined, joined.stderr).toMatchObject({ code: 0 })
    expect(joined.stdout).toContain(federation)
    const made = await answerInit(['node', 'init', '--dir', at('two'), '--data', at('text-two'), '--name', 'two'])
    expect(made).toMatchObject({ name: 'two', languages: ['fr', 'vi'] })
    await writeFile(at('invitation'), (await invite()).invitation)
    const second = await tapestryJson(
      z.looseObject({ member: z.string(), federation: z.string() }),
      ['node', 'join', '--dir', at('two'), '--invitation-file', at('invitation')],
      { home },
    )
    expect(second).toMatchObject({ member: 'acme', federation })
    // The plain form prints the invitation and nothing else, ready for a pipe.
    const plain = await tapestry(['invite', 'create', '--member', 'acme', ...dir()], { home })
    expect(plain.stdout).toMatch(/^tapestry-invite:1:\S+\n$/)
  })

  const answerInit = (args: readonly string[]) =>
    tapestryJson(z.looseObject({ name: z.string(), languages: z.array(z.string()) }), args, { home })

  test('node status and nodes ls show them', async () => {
    const status = z.looseObject({ name: z.string(), membership: z.looseObject({ federation: z.string() }).nullable() })
    expect(await answer(status, ['node', 'status', '--dir', at('one')])).toMatchObject({ membership: { federation } })
    const nodes = await answer(z.array(z.looseObject({ name: z.string() })), ['nodes', 'ls', ...dir()])
    expect(nodes.map(({ name }) => name).sort()).toEqual(['one', 'two'])
  })

  test('a run is created, its rounds run, and the nodes end when told', async () => {
    const created = await tapestryJson(
      z.looseObject({ run: z.string(), baseDigest: z.string() }),
      [
        'run',
        'create',
        'first',
        '--plan',
        at('plan.json'),
        '--target',
        '2',
        '--quorum',
        '2',
        '--rounds',
        '2',
        // Two sentences of text are little to measure on.
        '--min-evaluation',
        '10',
        ...dir(),
      ],
      { home },
    )
    expect(created.run).toBe('first')
    const nodes = ['one', 'two'].map(
      (name) => new Service(name, ['node', 'run', '--dir', at(name), '--rounds', '2'], { home }),
    )
    try {
      const started = z.looseObject({ phase: z.string(), round: z.number() })
      const round = await tapestryJson(started, ['round', 'start', 'first', ...dir()], { home })
      expect(round.round).toBe(1)
      expect(await Promise.all(nodes.map((node) => node.exited))).toEqual([0, 0])
      for (const node of nodes) {
        expect(node.lines.filter(({ type }) => type === 'published').map((line) => line['round'])).toEqual([1, 2])
      }
    } finally {
      await Promise.all(nodes.map((node) => node.kill()))
    }
  })

  test('run ls, round ls and round inspect show what happened', async () => {
    const runs = await answer(z.array(z.looseObject({ id: z.string() })), ['run', 'ls', ...dir()])
    expect(runs.map(({ id }) => id)).toEqual(['first'])
    const rounds = await answer(z.array(z.looseObject({ round: z.number(), phase: z.string() })), [
      'round',
      'ls',
      ...dir(),
    ])
    expect(rounds.map(({ round, phase }) => `${round} ${phase}`)).toEqual(['2 published', '1 published'])
    const inspected = z.looseObject({
      contributions: z.array(z.looseObject({ name: z.string(), weight: z.number(), rejection: z.null() })),
      languages: z.array(z.looseObject({ language: z.string(), measuredBy: z.array(z.string()) })),
    })
    const round = await answer(inspected, ['round', 'inspect', 'first/2', ...dir()])
    expect(round.contributions.map(({ weight }) => weight)).toEqual([0.5, 0.5])
    expect(round.languages.map(({ language }) => language)).toEqual(['fr', 'sw', 'vi'])
  })

  test('jobs ls shows what was merged and decided, and who did it; what is done is not asked for again', async () => {
    const jobs = z.array(z.looseObject({ id: z.string(), state: z.string(), leaseHolder: z.string() }))
    const done = await answer(jobs, ['jobs', 'ls', '--state', 'done', '--limit', '2', ...dir()])
    expect(done.map(({ id }) => id)).toEqual(['decide/first/2', 'aggregate/first/2'])
    expect(done[0]?.leaseHolder).toMatch(/\/\d+$/)
    expect(await failure(['jobs', 'retry', 'decide/first/2', ...dir()])).toEqual({
      exit: 1,
      code: 'FAILED_PRECONDITION',
    })
    expect(await failure(['jobs', 'retry', 'decide/first/9', ...dir()])).toEqual({ exit: 3, code: 'NOT_FOUND' })
    expect(await failure(['jobs', 'ls', '--state', 'lost', ...dir()])).toMatchObject({ exit: 2 })
  })

  test.each([
    ['language', ['fr', 'sw', 'vi']],
    ['community', ['']],
    ['round', ['first/1', 'first/2']],
  ])('contributions --by %s', async (by, keys) => {
    const rows = z.array(z.looseObject({ key: z.string(), accepted: z.number(), tokens: z.number() }))
    const found = await answer(rows, ['contributions', '--by', by, ...dir()])
    expect(found.map(({ key }) => key)).toEqual(keys)
    expect(found.every(({ tokens }) => tokens > 0)).toBe(true)
  })

  test('contributions --by node', async () => {
    const rows = z.array(z.looseObject({ key: z.string(), accepted: z.number() }))
    const found = await answer(rows, ['contributions', '--by', 'node', '--run', 'first', ...dir()])
    expect(found.map(({ accepted }) => accepted)).toEqual([2, 2])
  })

  test('models ls and models show, as a stranger', async () => {
    const listed = z.array(z.looseObject({ version: z.number(), channels: z.array(z.string()) }))
    const models = await answer(listed, ['models', 'ls', ...stranger()])
    expect(models.map(({ version }) => version)).toEqual([2, 1, 0])
    expect(models[0]?.channels).toEqual(['global'])
    const shown = z.looseObject({
      manifest: z.looseObject({ version: z.number() }),
      attestations: z.array(z.strictObject({ path: z.string(), size: z.number(), digest: z.string() })).length(4),
    })
    expect((await answer(shown, ['models', 'show', 'first@1', ...stranger()])).manifest.version).toBe(1)
    expect((await answer(shown, ['models', 'show', ...stranger()])).manifest.version).toBe(2)
  })

  test('pull and verify', async () => {
    const pulled = z.looseObject({ verified: z.literal(true), version: z.number(), downloaded: z.boolean() })
    const pull = ['pull', 'global', ...stranger(), '--output', at('model')]
    expect(await tapestryJson(pulled, pull, { home })).toMatchObject({ version: 2, downloaded: true })
    expect(await answer(pulled, pull)).toMatchObject({ downloaded: false })
    const verified = z.looseObject({ verified: z.literal(true), attestations: z.array(z.string()).length(4) })
    await answer(verified, ['verify', at('model'), '--trust', federation])
    await cp(at('coordinator', 'keys', 'release.pub'), at('release.pub'))
    await answer(verified, ['verify', at('model'), '--key', at('release.pub')])
  })

  test('verification needs no network and no home', async () => {
    const elsewhere = at('empty-home')
    await mkdir(elsewhere)
    const { code } = await tapestry(['verify', at('model'), '--trust', federation], { home: elsewhere })
    expect(code).toBe(0)
    expect(await readdir(elsewhere)).toEqual([])
  })
})

describe('a checkpoint that was tampered with', () => {
  /** Verifies a copy that was changed. */
  async function changed(change: (copy: string) => Promise<unknown>): Promise<unknown> {
    const copy = await mkdtemp(at('copy-'))
    await cp(at('model'), copy, { recursive: true })
    await change(copy)
    return failure(['verify', copy, '--trust', federation])
  }

  test('exits with 5 for one flipped byte in any file', async () => {
    const entries = await readdir(at('model'), { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile())
    expect(files.length).toBeGreaterThan(8)
    for (const { name: base, parentPath } of files) {
      const name = relative(at('model'), join(parentPath, base))
      const outcome = await changed(async (copy) => {
        const bytes = await readFile(join(copy, name))
        const middle = bytes.length >> 1
        bytes.writeUInt8((bytes[middle] ?? 0) ^ 1, middle)
        await writeFile(join(copy, name), bytes)
      })
      expect(outcome, name).toMatchObject({ exit: 5 })
    }
  })

  test('exits with 5 for a missing and for an extra file', async () => {
    const refused = { exit: 5, code: 'VERIFICATION_FAILED' }
    expect(await changed((copy) => rm(join(copy, 'config.json')))).toEqual(refused)
    expect(await changed((copy) => rm(join(copy, 'manifest.sig')))).toEqual(refused)
    expect(await changed((copy) => writeFile(join(copy, 'evil.py'), 'print()'))).toEqual(refused)
    expect(await changed((copy) => writeFile(join(copy, '.hidden'), ''))).toEqual(refused)
  })

  test('exits with 5 for the wrong federation and the wrong key', async () => {
    const wrong = { exit: 5, code: 'WRONG_FEDERATION' }
    const other = `sha256:${'0'.repeat(64)}`
    expect(await failure(['verify', at('model'), '--trust', other])).toEqual(wrong)
    expect(await failure(['pull', '--from', address, '--trust', other, '--output', at('never')])).toEqual(wrong)
    await tapestry(['coordinator', 'init', '--dir', at('other')], { home })
    expect(await failure(['verify', at('model'), '--key', at('other', 'keys', 'release.pub')])).toEqual(wrong)
  })
})

describe('failures have codes', () => {
  const usage = { exit: 2, code: 'INVALID_ARGUMENT' }

  test.each([
    ['an unknown command', ['knit']],
    ['an unknown option', ['run', 'ls', '--colour']],
    ['a missing argument', ['round', 'inspect']],
    ['a missing option', ['invite', 'create']],
    ['a round that is none', ['round', 'inspect', 'first/0']],
    ['a number that is none', ['node', 'run', '--rounds', 'many']],
    ['nothing to trust', ['verify', '.']],
  ])('%s: 2', async (_, args) => {
    expect(await failure(args)).toEqual(usage)
  })

  test('without --json the error is a sentence on stderr', async () => {
    const { code, stdout, stderr } = await tapestry(['round', 'inspect', 'first/99', ...dir()], { home })
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toMatch(/^error: \S/)
  })

  test('what is not there: 3', async () => {
    const missing = { exit: 3, code: 'NOT_FOUND' }
    expect(await failure(['round', 'inspect', 'first/99', ...dir()])).toEqual(missing)
    expect(await failure(['models', 'show', 'nowhere', ...stranger()])).toEqual(missing)
    expect(await failure(['pull', 'first@9', ...stranger(), '--output', at('never')])).toEqual(missing)
    expect(await failure(['node', 'run', '--dir', at('no-node')])).toEqual(missing)
    expect(await failure(['coordinator', 'serve', '--dir', at('no-coordinator')])).toEqual(missing)
  })

  test('nobody there: 6', async () => {
    const closed = await freePort()
    const nobody = { exit: 6, code: 'UNAVAILABLE' }
    expect(await failure(['models', 'ls', '--from', `127.0.0.1:${closed}`, '--trust', federation])).toEqual(nobody)
  })

  test('what exists already: ALREADY_EXISTS', async () => {
    const exists = { exit: 1, code: 'ALREADY_EXISTS' }
    expect(await failure(['coordinator', 'init', ...dir()])).toEqual(exists)
    expect(await failure(['node', 'init', '--dir', at('one'), '--data', at('text-one')])).toEqual(exists)
    expect(await failure(['pull', ...stranger(), '--output', at('text-one')])).toEqual(exists)
    const again = ['run', 'create', 'first', '--plan', at('plan.json'), '--target', '2', ...dir()]
    expect(await failure(again)).toEqual(exists)
  })

  test('an invitation that is none: 4', async () => {
    const args = ['node', 'join', '--dir', at('lost'), '--data', at('text-one'), '--invitation-file', '-']
    expect(await failure(args, 'please\n')).toEqual({ exit: 4, code: 'INVITATION_INVALID' })
  })

  test('a port in use: PORT_IN_USE, and nothing is left running', async () => {
    await tapestry(['coordinator', 'init', '--dir', at('crowded')], { home })
    const port = address.split(':').at(-1) ?? ''
    const args = ['coordinator', 'serve', '--dir', at('crowded'), '--port', port, '--log-level', 'silent']
    expect(await failure(args)).toEqual({ exit: 1, code: 'PORT_IN_USE' })
    expect(await readdir(at('crowded', 'postgres', 'postgres'))).not.toContain('postmaster.pid')
  })

  test('a directory that is being served: FAILED_PRECONDITION, and its database goes on', async () => {
    const args = ['coordinator', 'serve', ...dir(), '--port', '0', '--log-level', 'silent']
    expect(await failure(args)).toEqual({ exit: 1, code: 'FAILED_PRECONDITION' })
    expect((await tapestry(['round', 'inspect', 'first/1', ...dir()], { home })).code).toBe(0)
  })

  test('a data directory of another version: DATA_VERSION', async () => {
    const other = { exit: 1, code: 'DATA_VERSION' }
    await tapestry(['coordinator', 'init', '--dir', at('old')], { home })
    await writeFile(at('old', 'VERSION'), '999\n')
    expect(await failure(['coordinator', 'serve', '--dir', at('old'), '--port', '0'])).toEqual(other)
    await cp(at('one'), at('old-node'), { recursive: true })
    await writeFile(at('old-node', 'VERSION'), '999\n')
    expect(await failure(['node', 'run', '--dir', at('old-node')])).toEqual(other)
  })

  test.each([
    ['empty', ''],
    ['only white space', ' \n\t\n'],
    ['not UTF-8', Buffer.from([0xff, 0xfe, 0x41, 0x00])],
    ['one line only', 'habari\n'],
  ])('text that is %s: DATA_INVALID', async (name, text) => {
    const data = at(`bad-${name.replaceAll(' ', '-')}`)
    await mkdir(data)
    await writeFile(join(data, 'sw.txt'), text)
    const bad = { exit: 1, code: 'DATA_INVALID' }
    expect(await failure(['node', 'init', '--dir', `${data}-node`, '--data', data])).toEqual(bad)
  })

  test('text in a language that is none, or nowhere: DATA_INVALID', async () => {
    const bad = { exit: 1, code: 'DATA_INVALID' }
    await mkdir(at('bad-tag'))
    await writeFile(at('bad-tag', 'notes.txt'), 'one\ntwo\n')
    expect(await failure(['node', 'init', '--dir', at('bad-tag-node'), '--data', at('bad-tag')])).toEqual(bad)
    expect(await failure(['node', 'init', '--dir', at('nowhere-node'), '--data', at('nowhere')])).toEqual(bad)
  })

  test.skipIf(!MAY_MOUNT)('a full disk (needs mount): DISK_FULL, and the pull goes on when there is room', async () => {
    const small = at('small')
    await mkdir(small)
    const disk = await mountTinyDisk(small, 12)
    try {
      const pull = ['pull', ...stranger(), '--output', join(small, 'model')]
      expect(await failure(pull)).toEqual({ exit: 1, code: 'DISK_FULL' })
      expect(await readdir(small)).not.toContain('model')
      await disk.grow(4096)
      expect((await tapestry(pull, { home })).code).toBe(0)
    } finally {
      await disk.unmount()
    }
  })
})

describe('a node that goes its own way', () => {
  const nodeOne = () => ['--dir', at('one')]
  const listed = z.array(z.looseObject({ name: z.string(), status: z.string(), pausedSinceMs: z.number().nullable() }))
  const once = <T>(schema: z.ZodType<T>, args: readonly string[]) => tapestryJson(schema, args, { home })
  const inList = async () => (await once(listed, ['nodes', 'ls', ...dir()])).find(({ name }) => name === 'one')
  const told = z.looseObject({ told: z.boolean() })

  test('pauses, changes its key, comes back, and leaves while it runs', async () => {
    expect(await once(told, ['node', 'pause', ...nodeOne()])).toEqual({ paused: true, told: true })
    expect((await inList())?.pausedSinceMs).not.toBeNull()
    const change = await once(z.looseObject({ number: z.number() }), ['node', 'rotate-key', ...nodeOne()])
    expect(change).toMatchObject({ number: 1, authority: 'node' })
    const node = new Service('node one', ['node', 'run', ...nodeOne()], { home })
    await node.line('connects', ({ type }) => type === 'connected')
    expect(await failure(['node', 'rotate-key', ...nodeOne()])).toEqual({ exit: 1, code: 'FAILED_PRECONDITION' })
    expect(await failure(['node', 'leave', ...nodeOne()])).toEqual({ exit: 2, code: 'INVALID_ARGUMENT' })
    expect(await once(told, ['node', 'leave', '--yes', ...nodeOne()])).toMatchObject({ told: true })
    expect(await node.exited).toBe(0)
    expect(await inList()).toMatchObject({ status: 'left', keyChanges: 1 })
  })
})

test('a coordinator ends in order on SIGTERM', async () => {
  // 128 and the signal's number, as shells count.
  expect(await coordinator.stop()).toBe(143)
  expect(await readdir(at('coordinator', 'postgres', 'postgres'))).not.toContain('postmaster.pid')
})

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const found = server.address()
      server.close(() => resolve(typeof found === 'object' && found !== null ? found.port : 0))
    })
  })
}
