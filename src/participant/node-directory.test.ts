import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { digestOf } from '../core/digest.ts'
import { ensureRunId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { createNodeDirectory, openNodeDirectory, requireKey, requireMembership } from './node-directory.ts'
import { latestOwnWeights, pruneRounds, RoundFolder } from './round-folder.ts'

const withCode = (code: string) => expect.objectContaining({ code })
const sources = [{ path: '/data/sw.txt', language: ensureLanguageTag('sw'), community: 'Lamu' }]
/** Beyond every pid that Linux gives out. */
const DEAD_PID = 2 ** 22 + 1

let root: string

beforeEach(async () => {
  root = join(await mkdtemp(join(tmpdir(), 'tapestry-node-')), 'node')
})

afterEach(() => rm(join(root, '..'), { recursive: true }))

describe('node directory', () => {
  it('keeps what it was made with, for its own user alone', async () => {
    await createNodeDirectory(root, { name: 'Lamu Archive', sources })
    const directory = await openNodeDirectory(root)
    await directory.writeKey('node.key', 'secret')
    expect(await directory.read()).toEqual({ name: 'Lamu Archive', sources })
    expect((await stat(join(root, 'keys'))).mode & 0o777).toBe(0o700)
    expect((await stat(join(root, 'keys/node.key'))).mode & 0o777).toBe(0o600)
    expect(await directory.readKey('node.key')).toBe('secret')
    expect(await directory.readKey('tls.pem')).toBeUndefined()
  })

  it('is made once, and in a directory of its own', async () => {
    await createNodeDirectory(root, { name: 'one', sources })
    await expect(createNodeDirectory(root, { name: 'two', sources })).rejects.toEqual(withCode('ALREADY_EXISTS'))
    const full = join(root, '..', 'full')
    await mkdir(full)
    await writeFile(join(full, 'thesis.tex'), '')
    await expect(createNodeDirectory(full, { name: 'two', sources })).rejects.toEqual(withCode('ALREADY_EXISTS'))
    expect(await readdir(full)).toEqual(['thesis.tex'])
    const named = createNodeDirectory(join(root, '..', 'named'), { name: 'a\nb', sources })
    await expect(named).rejects.toEqual(withCode('INVALID_ARGUMENT'))
  })

  it('completes what a crash left half made', async () => {
    await createNodeDirectory(root, { name: 'one', sources })
    await rm(join(root, 'VERSION'))
    await expect(openNodeDirectory(root)).rejects.toEqual(withCode('NOT_FOUND'))
    await createNodeDirectory(root, { name: 'one', sources })
    await openNodeDirectory(root)
  })

  it('refuses what another version wrote, and what is damaged', async () => {
    await createNodeDirectory(root, { name: 'one', sources })
    await writeFile(join(root, 'VERSION'), '2\n')
    await expect(openNodeDirectory(root)).rejects.toEqual(withCode('DATA_VERSION'))
    await writeFile(join(root, 'VERSION'), '1\n')
    await writeFile(join(root, 'node.json'), '{"name":')
    await expect(openNodeDirectory(root)).rejects.toEqual(withCode('DATA_INVALID'))
    await rm(join(root, 'node.json'))
    await expect(openNodeDirectory(root)).rejects.toEqual(withCode('DATA_INVALID'))
  })

  it('says what is missing before enrolment', async () => {
    const directory = await createNodeDirectory(root, { name: 'one', sources })
    await expect(requireMembership(directory)).rejects.toEqual(withCode('FAILED_PRECONDITION'))
    await expect(requireKey(directory, 'ca.crt')).rejects.toEqual(withCode('DATA_INVALID'))
  })
})

describe('lock', () => {
  it('admits one at a time', async () => {
    const directory = await createNodeDirectory(root, { name: 'one', sources })
    const unlock = await directory.lock()
    await expect(directory.lock()).rejects.toEqual(withCode('FAILED_PRECONDITION'))
    await unlock()
    await (await directory.lock())()
    expect(await readdir(root)).not.toContain('node.lock')
  })

  it('respects a living process and takes over from a dead one', async () => {
    const directory = await createNodeDirectory(root, { name: 'one', sources })
    const lock = join(root, 'node.lock')
    await writeFile(lock, `${process.ppid} elsewhere\n`)
    await expect(directory.lock()).rejects.toEqual(withCode('FAILED_PRECONDITION'))
    expect(await readFile(lock, 'utf8')).toBe(`${process.ppid} elsewhere\n`)
    for (const stale of [`${DEAD_PID} gone\n`, `${process.pid} an earlier life in a container\n`, '', 'rubbish']) {
      await writeFile(lock, stale)
      const unlock = await directory.lock()
      expect(await readFile(lock, 'utf8')).toMatch(new RegExp(`^${process.pid} `))
      await unlock()
    }
    expect((await readdir(root)).filter((name) => name.startsWith('node.lock'))).toEqual([])
  })
})

describe('round folders', () => {
  const run = ensureRunId('demo')

  it('are pruned but for the newest, and nothing else is', async () => {
    const directory = await createNodeDirectory(root, { name: 'one', sources })
    for (const number of [1, 2, 3, 10]) await new RoundFolder(directory, { run, number }).prepare()
    await mkdir(join(root, 'rounds/demo/notes'))
    await mkdir(join(root, 'rounds/other/1'), { recursive: true })
    await pruneRounds(directory, run)
    expect((await readdir(join(root, 'rounds/demo'))).sort()).toEqual(['10', '3', 'notes'])
    expect(await readdir(join(root, 'rounds/other'))).toEqual(['1'])
  })

  it('know the weights that the node goes on from: the newest that were not refused, of an earlier round', async () => {
    const directory = await createNodeDirectory(root, { name: 'one', sources })
    const base = digestOf('base')
    for (const number of [1, 2, 3, 10]) await new RoundFolder(directory, { run, number }).prepare()
    expect(await latestOwnWeights(directory, { run, number: 10 })).toBeUndefined()
    for (const number of [2, 3, 10]) await writeFile(new RoundFolder(directory, { run, number }).elasticPath, '')
    const [second, third] = [2, 3].map((number) => new RoundFolder(directory, { run, number }))
    expect(await latestOwnWeights(directory, { run, number: 10 })).toBe(third?.elasticPath)
    expect(await latestOwnWeights(directory, { run, number: 3 })).toBe(second?.elasticPath)
    await third?.writeOutcome({ base, contribution: 'refused' })
    expect(await latestOwnWeights(directory, { run, number: 10 })).toBe(second?.elasticPath)
    await second?.clear()
    expect(await latestOwnWeights(directory, { run, number: 10 })).toBeUndefined()
  })

  it('take a damaged record for none', async () => {
    const directory = await createNodeDirectory(root, { name: 'one', sources })
    const folder = new RoundFolder(directory, { run, number: 1 })
    await folder.prepare()
    await writeFile(join(folder.path, 'report.json'), '{"base":"sha256:')
    await writeFile(join(folder.path, 'end.json'), '')
    await chmod(join(folder.path, 'end.json'), 0o600)
    expect(await folder.readReport()).toBeUndefined()
    expect(await folder.isClosed()).toBe(false)
    await folder.close('failed')
    expect(await folder.isClosed()).toBe(true)
  })
})
