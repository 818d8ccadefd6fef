import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { appendFile, cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digestOf, hexOf } from '../../src/core/digest.ts'
import { attest, readSigned } from './attested.ts'
import { ARCHITECTURE, randomLlama, writeCheckpoint } from './checkpoint.ts'
import { makeFederation, type TestFederation } from './federation.ts'

const inEnvironment = (name: string) => fileURLToPath(new URL(`../../.venv/bin/${name}`, import.meta.url))
const SCRIPT = fileURLToPath(new URL('attestations.py', import.meta.url))
const missing = !existsSync(inEnvironment('model_signing'))
const suite = missing
  ? 'attestations (skipped: no .venv/bin/model_signing: .venv/bin/pip install -r test/interop/requirements.txt)'
  : 'attestations'

const run = promisify(execFile)
const root = await mkdtemp(join(tmpdir(), 'attested-'))
const directory = join(root, 'checkpoint')
const key = join(root, 'release.pem')
let federation: TestFederation

/** The reference implementation of OpenSSF Model Signing, as its users call it. */
const verify = (path: string, publicKey: string) => {
  const options = ['--signature', join(path, 'model.sig'), '--public_key', publicKey]
  return run(inEnvironment('model_signing'), ['verify', 'key', path, ...options])
}

beforeAll(async () => {
  federation = await makeFederation()
  await writeCheckpoint(directory, federation, randomLlama(ARCHITECTURE, 3))
  await attest(directory, federation)
  await writeFile(key, federation.releaseKeyPem)
})
afterAll(() => rm(root, { recursive: true }))

describe.skipIf(missing)(suite, () => {
  it('verify with OpenSSF Model Signing, and not when a file or the key is another', async () => {
    await verify(directory, key)
    const changed = join(root, 'changed')
    await cp(directory, changed, { recursive: true })
    await appendFile(join(changed, 'config.json'), ' ')
    await expect(verify(changed, key)).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('config.json'),
    })
    const otherKey = join(root, 'other.pem')
    await writeFile(otherKey, (await makeFederation()).releaseKeyPem)
    await expect(verify(directory, otherKey)).rejects.toMatchObject({ code: 1 })
  })

  it('are what in-toto, DSSE and CycloneDX say they should be', async () => {
    const { stdout } = await run(inEnvironment('python'), [SCRIPT, directory, key])
    const { manifest, bytes } = await readSigned(directory)
    const found = JSON.parse(stdout)
    const files = [...manifest.files.map(({ path, digest }) => [path, hexOf(digest)]), ['manifest.json', hex(bytes)]]
    expect(found).toMatchObject({
      predicateType: 'https://slsa.dev/provenance/v1',
      subject: Object.fromEntries(files),
      builder: `tapestry:federation/${federation.record.id}`,
      dependencies: ['plan', 'base', ...manifest.contributions.map(({ node }) => `contribution/${node}`)],
      bomInvalid: null,
      model: { type: 'machine-learning-model', name: 'demo', version: '1' },
      members: ['member-aa', 'member-bb'],
    })
    expect(Object.keys(found.byproducts)).toEqual(['attestations/bom.cdx.json', 'attestations/training-content.json'])
  })
})

const hex = (bytes: Uint8Array) => hexOf(digestOf(bytes))
