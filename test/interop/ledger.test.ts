import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeArchive } from '../../src/ledger/archive.ts'
import { openCredentials } from '../../src/ledger/receipt.ts'
import { FakeCoordinator } from '../fake-coordinator.ts'
import { FakeLog } from '../fake-log.ts'

const run = promisify(execFile)
const SCRIPT = fileURLToPath(new URL('ledger.py', import.meta.url))
const VENV = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
const SIZE = 70_000

/** The first Python that has the package `cryptography`. */
async function findPython(): Promise<string | undefined> {
  for (const python of [VENV, 'python3']) {
    const found = await run(python, ['-c', 'import cryptography']).catch(() => undefined)
    if (found !== undefined) return python
  }
  return undefined
}

const python = await findPython()
const name = `a reader in Python${python === undefined ? ' (skipped: no Python with cryptography)' : ''}`

describe.skipIf(python === undefined)(name, () => {
  let fake: FakeCoordinator
  let log: FakeLog
  let directory: string

  beforeAll(async () => {
    fake = await FakeCoordinator.create()
    log = new FakeLog(fake)
    log.fill(SIZE)
    directory = await mkdtemp(join(tmpdir(), 'tapestry-python-'))
    const { bytes, signature } = log.signer.record
    const credentials = {
      federation: { record: Buffer.from(fake.record.bytes).toString(), signature: { ...fake.record.signature } },
      log: { record: Buffer.from(bytes).toString(), signature: { ...signature } },
    }
    const { verifier } = openCredentials(credentials, fake.federation)
    const source = async (start: number) => log.entries.slice(start, start + 256)
    await writeArchive(directory, { credentials, verifier, checkpoint: log.note() }, source)
  })

  afterAll(async () => {
    await fake.close()
    await rm(directory, { recursive: true, force: true })
  })

  const read = () => run(python ?? '', [SCRIPT, directory, fake.federation])

  it('proves an export of three levels of tiles', async () => {
    const [, , root] = log.note().split('\n')
    expect((await read()).stdout).toBe(`${SIZE} ${root}\n`)
  })

  it('proves nothing after a bit was changed', async () => {
    const path = join(directory, 'tile', 'entries', '077')
    const bytes = await readFile(path)
    bytes[1000] = (bytes[1000] ?? 0) ^ 1
    await writeFile(path, bytes)
    await expect(read()).rejects.toThrow('the root is not that of the entries')
  })
})
