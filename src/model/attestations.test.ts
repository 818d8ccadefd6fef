import { randomBytes } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { cp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { attest, readSigned, sampleSource } from '../../test/interop/attested.ts'
import { ARCHITECTURE, randomLlama, writeCheckpoint } from '../../test/interop/checkpoint.ts'
import { makeFederation, type TestFederation } from '../../test/interop/federation.ts'
import { makeAttestations } from './attestations.ts'
import { ATTESTATIONS } from './release-path.ts'
import { writeAttestations } from './sidecars.ts'
import { verifyCheckpoint } from './verify.ts'

const root = mkdtempSync(join(tmpdir(), 'attestations-'))
const original = join(root, 'original')
const directory = join(root, 'copy')
let federation: TestFederation
let other: TestFederation

beforeAll(async () => {
  federation = await makeFederation()
  other = await makeFederation({ name: 'Other federation' })
  await writeCheckpoint(original, federation, randomLlama(ARCHITECTURE, 1))
  await attest(original, federation)
})
beforeEach(async () => {
  rmSync(directory, { recursive: true, force: true })
  await cp(original, directory, { recursive: true })
})
afterAll(() => rmSync(root, { recursive: true }))

const verify = () => verifyCheckpoint(directory, { federation: federation.record.id })
const refusal = (path: string) => ({ code: 'VERIFICATION_FAILED', message: expect.stringContaining(path) })
const read = (path: string) => readFileSync(join(directory, path))
const put = (path: string, bytes: string | Uint8Array) => writeFileSync(join(directory, path), bytes)

describe('attestations of a checkpoint', () => {
  it('are proven by federation and by release key', async () => {
    expect((await verify()).attestations).toEqual(ATTESTATIONS)
    const byKey = await verifyCheckpoint(directory, { releaseKeyPem: federation.releaseKeyPem })
    expect(byKey.attestations).toEqual(ATTESTATIONS)
  })

  it('may all be absent, but not one of them', async () => {
    for (const path of ATTESTATIONS) {
      const bytes = read(path)
      unlinkSync(join(directory, path))
      await expect(verify(), path).rejects.toMatchObject(refusal(path))
      put(path, bytes)
    }
    for (const path of ATTESTATIONS) unlinkSync(join(directory, path))
    await expect(verify()).rejects.toMatchObject(refusal('attestations'))
    rmSync(join(directory, 'attestations'), { recursive: true })
    expect((await verify()).attestations).toEqual([])
  })

  it('hold to the bit', async () => {
    for (const path of ATTESTATIONS) {
      const bytes = read(path)
      const step = Math.max(1, Math.floor(bytes.byteLength / 60))
      for (let at = 0; at < bytes.byteLength; at += step) {
        const flipped = Buffer.from(bytes)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
        put(path, flipped)
        await expect(verify(), `${path} at ${at}`).rejects.toMatchObject(refusal(path))
      }
      put(path, bytes)
    }
    await verify()
  })

  it('are refused by another key, whether it is listed in the envelope or not', async () => {
    const signed = await readSigned(directory)
    const forged = makeAttestations(signed, sampleSource(signed.manifest), other.releaseKey)
    for (const { path, bytes } of forged.slice(0, 2)) {
      const own = read(path)
      put(path, bytes)
      await expect(verify()).rejects.toMatchObject(refusal(path))
      const keyId = federation.record.releaseKeys[0]?.keyId ?? ''
      const claimed = Buffer.from(bytes)
        .toString()
        .replaceAll(other.record.releaseKeys[0]?.keyId ?? '', keyId)
      put(path, claimed)
      await expect(verify()).rejects.toMatchObject(refusal(path))
      put(path, own)
    }
  })

  it('are refused with a hint at another key than the one that signed', async () => {
    const bundle = JSON.parse(read('model.sig').toString())
    const hint = bundle.verificationMaterial.publicKey.hint
    put('model.sig', read('model.sig').toString().replace(hint, '0'.repeat(64)))
    await expect(verify()).rejects.toMatchObject(refusal('model.sig'))
  })

  it('are refused when they name other files, fewer, or those of another checkpoint', async () => {
    const signed = await readSigned(directory)
    const { manifest } = signed
    const [first, ...rest] = manifest.files
    if (first === undefined) throw new Error('no files')
    const changed = [{ ...first, digest: manifest.plan }, ...rest]
    for (const files of [changed, rest, [...manifest.files, { ...first, path: 'zzz.json' }]]) {
      const wrong = makeAttestations(
        { ...signed, manifest: { ...manifest, files } },
        sampleSource(manifest),
        federation.releaseKey,
      )
      for (const { path, bytes } of wrong.slice(0, 2)) {
        const own = read(path)
        put(path, bytes)
        await expect(verify(), path).rejects.toMatchObject(refusal(path))
        put(path, own)
      }
    }
  })

  it('are refused when they leave out a contribution, the base, or name another builder', async () => {
    const signed = await readSigned(directory)
    const { manifest } = signed
    const lies = [{ contributions: manifest.contributions.slice(1) }, { base: null }, { federation: other.record.id }]
    for (const lie of lies) {
      const wrong = makeAttestations(
        { ...signed, manifest: { ...manifest, ...lie } },
        sampleSource(manifest),
        federation.releaseKey,
      )
      await writeAttestations(directory, wrong)
      await expect(verify()).rejects.toMatchObject(refusal('attestations/provenance.json'))
    }
  })

  it('are refused in exchange for each other: a model signature is no provenance', async () => {
    const bundle = JSON.parse(read('model.sig').toString())
    put('attestations/provenance.json', JSON.stringify(bundle.dsseEnvelope))
    await expect(verify()).rejects.toMatchObject(refusal('attestations/provenance.json'))
  })

  it('are refused truncated, empty, huge, random, nested without end, or as links', async () => {
    for (const path of ATTESTATIONS) {
      const bytes = read(path)
      const junk = [bytes.subarray(0, bytes.byteLength / 2), '', randomBytes(1000), '['.repeat(100_000), 'null', '{}']
      for (const content of junk) {
        put(path, content)
        await expect(verify(), path).rejects.toMatchObject(refusal(path))
      }
      truncateSync(join(directory, path), 65 * 2 ** 20)
      await expect(verify(), path).rejects.toMatchObject(refusal(path))
      unlinkSync(join(directory, path))
      symlinkSync(join(original, path), join(directory, path))
      await expect(verify(), path).rejects.toMatchObject(refusal(path))
      unlinkSync(join(directory, path))
      put(path, bytes)
    }
  })

  it('have no company in their directory', async () => {
    put('attestations/extra.json', '{}')
    await expect(verify()).rejects.toMatchObject(refusal('attestations/extra.json'))
    unlinkSync(join(directory, 'attestations/extra.json'))
    mkdirSync(join(directory, 'attestations', 'more'))
    await expect(verify()).rejects.toMatchObject(refusal('attestations/more'))
    expect(readdirSync(join(original, 'attestations'))).toHaveLength(3)
  })
})
