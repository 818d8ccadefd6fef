import { generateKeyPairSync } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { FakeLog } from '../../test/fake-log.ts'
import { readExport } from '../../test/ledger-reader.ts'
import { digestOf } from '../core/digest.ts'
import { verifyArchive, writeArchive } from './archive.ts'
import { type LogCredentials, openCredentials } from './receipt.ts'

const withCode = (code: string) => expect.objectContaining({ code })

let fake: FakeCoordinator
let log: FakeLog
let credentials: LogCredentials
let parent: string
let whole: string
let copies = 0

beforeAll(async () => {
  fake = await FakeCoordinator.create()
  log = new FakeLog(fake)
  const { bytes, signature } = log.signer.record
  const federation = { record: Buffer.from(fake.record.bytes).toString(), signature: { ...fake.record.signature } }
  credentials = { federation, log: { record: Buffer.from(bytes).toString(), signature: { ...signature } } }
  parent = await mkdtemp(join(tmpdir(), 'tapestry-archive-'))
  log.fill(600)
  whole = join(parent, 'whole')
  await write(whole)
})

afterAll(async () => {
  await fake.close()
  await rm(parent, { recursive: true })
})

beforeEach(() => {
  copies++
})

/** Pages of an uneven size, as a coordinator may choose to send them. */
const source = async (start: number) => log.entries.slice(start, start + 100)

function write(directory: string, checkpoint = log.note()) {
  const { verifier } = openCredentials(credentials, fake.federation)
  return writeArchive(directory, { credentials, verifier, checkpoint }, source)
}

async function copy(): Promise<string> {
  const directory = join(parent, `copy-${copies}`)
  await cp(whole, directory, { recursive: true })
  return directory
}

describe('an export', () => {
  it('is proved offline, by us and by a reader that shares no code with us', async () => {
    expect((await verifyArchive(whole, fake.federation)).size).toBe(600)
    const read = readExport(whole, fake.federation)
    expect(read.size).toBe(600)
    expect(read.entries[599]).toEqual({ filler: 599 })
  })

  it.each([0, 1, 255, 256, 257, 512])('of %i entries too', async (size) => {
    const directory = join(parent, `of-${size}`)
    const checkpoint = log.note(size)
    await write(directory, checkpoint)
    expect((await verifyArchive(directory, fake.federation)).size).toBe(size)
    expect(readExport(directory, fake.federation).size).toBe(size)
  })

  it('is extended by a later state of the same log', async () => {
    const directory = join(parent, 'grown')
    await write(directory, log.note(300))
    await write(directory)
    expect((await verifyArchive(directory, fake.federation)).size).toBe(600)
    await expect(write(directory, log.note(300))).rejects.toEqual(withCode('VERIFICATION_FAILED'))
  })

  it('is not extended by another past', async () => {
    const directory = join(parent, 'forked')
    await write(directory, log.note(300))
    const honest = log.entries
    log.rewrite(7)
    await expect(write(directory)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    log.entries = honest
  })

  it('is not made of other entries than those that were signed', async () => {
    const checkpoint = log.note()
    const honest = log.entries
    log.rewrite(450)
    await expect(write(join(parent, 'other'), checkpoint)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    log.entries = honest.slice(0, 500)
    await expect(write(join(parent, 'short'), checkpoint)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    log.entries = honest
  })

  it('does not mix with files of somebody else', async () => {
    const directory = join(parent, 'of-0')
    await writeFile(join(directory, 'letter.txt'), 'dear')
    await expect(write(directory)).rejects.toEqual(withCode('ALREADY_EXISTS'))
  })

  it('is of one federation', async () => {
    await expect(verifyArchive(whole, digestOf('another'))).rejects.toEqual(withCode('WRONG_FEDERATION'))
    expect(() => readExport(whole, digestOf('another'))).toThrow('another federation')
  })
})

describe('an export that was tampered with is refused', () => {
  const refused = async (directory: string) => {
    await expect(verifyArchive(directory, fake.federation)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    expect(() => readExport(directory, fake.federation)).toThrow()
  }
  const flip = async (path: string, at: number) => {
    const bytes = await readFile(path)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    await writeFile(path, bytes)
  }

  it.each(['tile/0/000', 'tile/0/002.p/88', 'tile/1/000.p/2', 'tile/entries/001', 'tile/entries/002.p/88'])(
    '%s truncated, changed or gone',
    async (path) => {
      const truncated = await copy()
      await truncate(join(truncated, path), 31)
      await refused(truncated)
      copies++
      const changed = await copy()
      await flip(join(changed, path), 9)
      await refused(changed)
      copies++
      const gone = await copy()
      await rm(join(gone, path))
      await refused(gone)
    },
  )

  it('by a checkpoint of another key, or of no key', async () => {
    const { key } = log.signer
    log.useKey(generateKeyPairSync('ed25519').privateKey)
    const other = log.note()
    log.useKey(key)
    const directory = await copy()
    await writeFile(join(directory, 'checkpoint'), other)
    await refused(directory)
    await writeFile(join(directory, 'checkpoint'), log.note().split('\n\n')[0] ?? '')
    await refused(directory)
  })

  it('by another key in log.json', async () => {
    const directory = await copy()
    const text = await readFile(join(directory, 'log.json'), 'utf8')
    const made = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const file = JSON.parse(text)
    file.log.record = JSON.stringify({ ...JSON.parse(file.log.record), publicKey: made })
    await writeFile(join(directory, 'log.json'), JSON.stringify(file))
    await refused(directory)
    await writeFile(join(directory, 'log.json'), text.slice(0, -1))
    await refused(directory)
  })
})
