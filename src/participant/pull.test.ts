import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { FakeReleases } from '../../test/fake-release.ts'
import { generateKey } from '../identity/key-file.ts'
import { type PullOptions, pullCheckpoint } from './pull.ts'

const withCode = (code: string) => expect.objectContaining({ code })
const backoff = { baseMs: 1, capMs: 1, random: () => 0 }
const FILES = {
  'model.safetensors': Buffer.alloc(300_000, 'weights'),
  'config.json': Buffer.from('{}'),
  'parts/one.txt': Buffer.from('one'),
}

let fake: FakeCoordinator
let releases: FakeReleases
let parent: string
let directory: string
let store: string

beforeEach(async () => {
  fake = await FakeCoordinator.create()
  releases = new FakeReleases(fake)
  releases.publish(1, FILES, ['global'])
  await fake.listen()
  parent = await mkdtemp(join(tmpdir(), 'tapestry-pull-'))
  directory = join(parent, 'model')
  store = join(parent, 'config/trust.json')
})

afterEach(async () => {
  await fake.close()
  await rm(parent, { recursive: true })
})

function pull(changes: Partial<PullOptions> = {}) {
  const trust = { federation: fake.federation }
  return pullCheckpoint({ address: fake.address, ref: 'global', directory, trust, backoff, ...changes })
}

describe('pull', () => {
  it('fetches a checkpoint, and nothing when it is there', async () => {
    const first = await pull()
    expect(first).toMatchObject({ downloaded: true, firstContact: false, manifest: { version: 1 } })
    expect((await readFile(join(directory, 'parts/one.txt'))).toString()).toBe('one')
    expect((await readdir(parent)).sort()).toEqual(['model'])
    fake.log.length = 0
    expect(await pull({ ref: 'demo@1' })).toMatchObject({ downloaded: false, digest: first.digest })
    expect(fake.log).toEqual([])
  })

  it('goes on after an interruption', async () => {
    fake.faults.cutDownloads = [1, 1, 1, 100_000]
    const stop = new AbortController()
    const onProgress = (done: number) => done > 50_000 && stop.abort(new Error('stop'))
    await expect(pull({ signal: stop.signal, onProgress })).rejects.toThrow('stop')
    await expect(readdir(directory)).rejects.toThrow()
    const before = fake.log.length
    await pull()
    expect((await readFile(join(directory, 'model.safetensors'))).equals(FILES['model.safetensors'])).toBe(true)
    expect(fake.log.slice(before)).toContainEqual(expect.stringMatching(/^GET [1-9]/))
  })

  it('replaces an older or damaged checkpoint, and what an interrupted other one left', async () => {
    await pull()
    releases.publish(2, { 'model.safetensors': Buffer.from('new') }, ['global'])
    await mkdir(`${directory}.partial/parts`, { recursive: true })
    await writeFile(`${directory}.partial/parts/one.txt`, 'old')
    await pull()
    expect((await readdir(directory)).sort()).toEqual([
      'federation.json',
      'manifest.json',
      'manifest.sig',
      'model.safetensors',
    ])
    await writeFile(join(directory, 'model.safetensors'), 'damaged')
    expect(await pull()).toMatchObject({ downloaded: true, manifest: { version: 2 } })
  })

  it('never touches a directory that is something else', async () => {
    await mkdir(directory)
    await writeFile(join(directory, 'thesis.tex'), 'years of work')
    await expect(pull()).rejects.toEqual(withCode('ALREADY_EXISTS'))
    await rm(join(directory, 'thesis.tex'))
    await pull()
    await writeFile(join(directory, 'thesis.tex'), 'years of work')
    await expect(pull()).rejects.toEqual(withCode('ALREADY_EXISTS'))
    expect((await readFile(join(directory, 'thesis.tex'))).toString()).toBe('years of work')
  })

  it('downloads nothing that no release key has signed', async () => {
    releases.signingKey = generateKey('p-256').privateKey
    releases.publish(3, FILES, ['global'])
    await expect(pull()).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    expect(fake.log).toEqual([])
  })

  it('refuses another checkpoint than the one it asked for', async () => {
    const digest = releases.publish(4, FILES, ['demo@9'])
    await expect(pull({ ref: 'demo@9' })).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    await pull({ ref: digest })
    await expect(pull({ ref: 'nowhere' })).rejects.toEqual(withCode('NOT_FOUND'))
  })

  it('refuses files that are not what was signed', async () => {
    fake.faults.tamper = (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1))
    await expect(pull()).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    await expect(readdir(directory)).rejects.toThrow()
  })
})

describe('trust', () => {
  it('is given on first use only when allowed, and then kept', async () => {
    await expect(pull({ trust: { store } })).rejects.toEqual(withCode('FAILED_PRECONDITION'))
    await expect(readFile(store)).rejects.toThrow()
    expect(await pull({ trust: { store, onFirstUse: true } })).toMatchObject({ firstContact: true })
    expect(await pull({ trust: { store } })).toMatchObject({ firstContact: false })
  })

  it('is withdrawn from an address that changes its federation', async () => {
    await pull({ trust: { store, onFirstUse: true } })
    const port = Number(fake.address.split(':')[1])
    await fake.close()
    const other = await FakeCoordinator.create()
    new FakeReleases(other).publish(1, FILES, ['global'])
    await other.listen(port)
    try {
      await expect(pull({ trust: { store, onFirstUse: true } })).rejects.toEqual(withCode('WRONG_FEDERATION'))
      await expect(pull({ trust: { federation: fake.federation } })).rejects.toEqual(withCode('WRONG_FEDERATION'))
      await expect(pull({ trust: { store, federation: other.federation } })).rejects.toEqual(
        withCode('WRONG_FEDERATION'),
      )
    } finally {
      await other.close()
    }
  })

  it('is not guessed when its file is damaged', async () => {
    await mkdir(join(parent, 'config'))
    await writeFile(store, '{')
    await expect(pull({ trust: { store, onFirstUse: true } })).rejects.toEqual(withCode('DATA_INVALID'))
  })
})
