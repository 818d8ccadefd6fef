import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { cp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ARCHITECTURE, randomLlama, writeCheckpoint } from '../../test/interop/checkpoint.ts'
import { issueCertificate, makeFederation, type TestFederation } from '../../test/interop/federation.ts'
import { canonicalBytes } from '../core/canonical-json.ts'
import { ensureFederationId } from '../core/ids.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import {
  type FederationRecord,
  federationIdOf,
  parseFederationRecord,
  signFederationRecord,
} from './federation-record.ts'
import { type Manifest, manifestDigest } from './manifest.ts'
import { type TrustRoot, verifyCheckpoint } from './verify.ts'

const root = mkdtempSync(join(tmpdir(), 'verify-'))
const original = join(root, 'original')
const directory = join(root, 'copy')
let federation: TestFederation
let other: TestFederation
let manifest: Manifest

beforeAll(async () => {
  federation = await makeFederation()
  other = await makeFederation({ name: 'Other federation' })
  manifest = await writeCheckpoint(original, federation, randomLlama(ARCHITECTURE, 1))
})
beforeEach(async () => {
  rmSync(directory, { recursive: true, force: true })
  await cp(original, directory, { recursive: true })
})
afterAll(() => rmSync(root, { recursive: true }))

const byFederation = (): TrustRoot => ({ federation: federation.record.id })
const byKey = (): TrustRoot => ({ releaseKeyPem: federation.releaseKeyPem })
const refusal = (path: string) => ({ code: 'VERIFICATION_FAILED', message: expect.stringContaining(path) })

function edit(name: string, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(join(directory, name), change(readFileSync(join(directory, name))))
}

describe('verifyCheckpoint', () => {
  it('accepts a whole checkpoint by federation and by release key, and reports progress', async () => {
    const total = manifest.files.reduce((sum, { size }) => sum + size, 0)
    for (const trust of [byFederation(), byKey()]) {
      const seen: number[] = []
      const verified = await verifyCheckpoint(directory, trust, { onProgress: (done, all) => seen.push(done / all) })
      expect(verified.digest).toBe(manifestDigest(manifest))
      expect(verified.federation).toEqual(federation.record)
      expect(verified.manifest.version).toBe(manifest.version)
      expect(seen.at(-1)).toBe(1)
      expect(total).toBeGreaterThan(0)
    }
  })

  it('refuses a flipped bit anywhere in any file, naming the file', async () => {
    for (const name of readdirSync(original)) {
      const bytes = readFileSync(join(original, name))
      const step = Math.max(1, Math.floor(bytes.byteLength / 25))
      for (let at = 0; at < bytes.byteLength; at += step) {
        const flipped = Buffer.from(bytes)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
        writeFileSync(join(directory, name), flipped)
        const trust = at % 2 === 0 ? byFederation() : byKey()
        // A changed manifest.json shows as a manifest.sig that does not sign it.
        const named = name === 'manifest.json' ? 'manifest.' : name
        await expect(verifyCheckpoint(directory, trust), `${name} at ${at}`).rejects.toMatchObject(refusal(named))
      }
      writeFileSync(join(directory, name), bytes)
    }
    await verifyCheckpoint(directory, byFederation())
  })

  it('refuses a flip in every byte of the signature file, and every bit where base64 pads', async () => {
    const bytes = readFileSync(join(original, 'manifest.sig'))
    const padding = 8 * (bytes.byteLength - 12)
    for (let bit = 0; bit < 8 * bytes.byteLength; bit += bit < padding ? 9 : 1) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      writeFileSync(join(directory, 'manifest.sig'), flipped)
      await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal('manifest.sig'))
    }
  })

  it('refuses a missing, shorter or longer file, whichever it is', async () => {
    for (const name of readdirSync(original)) {
      const trust = byFederation()
      edit(name, (bytes) => bytes.subarray(0, -1))
      await expect(verifyCheckpoint(directory, trust)).rejects.toMatchObject(
        refusal('manifest.json' === name ? 'manifest.' : name),
      )
      writeFileSync(join(directory, name), Buffer.concat([readFileSync(join(original, name)), Buffer.from(' ')]))
      await expect(verifyCheckpoint(directory, trust)).rejects.toMatchObject(
        refusal('manifest.json' === name ? 'manifest.' : name),
      )
      unlinkSync(join(directory, name))
      await expect(verifyCheckpoint(directory, trust)).rejects.toMatchObject(refusal(name))
      writeFileSync(join(directory, name), readFileSync(join(original, name)))
    }
  })

  it('refuses anything more, hidden or empty too', async () => {
    for (const name of ['extra.txt', '.hidden', 'README.MD~']) {
      writeFileSync(join(directory, name), '')
      await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal(name))
      unlinkSync(join(directory, name))
    }
    for (const name of ['empty', '.cache']) {
      mkdirSync(join(directory, name))
      await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal(name))
      rmSync(join(directory, name), { recursive: true })
    }
  })

  it('refuses links, even to the right bytes', async () => {
    for (const name of ['config.json', 'manifest.json', 'federation.json']) {
      renameSync(join(directory, name), join(root, 'elsewhere'))
      symlinkSync(join(root, 'elsewhere'), join(directory, name))
      await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal(name))
      unlinkSync(join(directory, name))
      renameSync(join(root, 'elsewhere'), join(directory, name))
    }
    symlinkSync('/nowhere', join(directory, 'dangling'))
    await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal('dangling'))
  })

  it('says WRONG_FEDERATION for another root of trust', async () => {
    const wrong = { code: 'WRONG_FEDERATION' }
    await expect(verifyCheckpoint(directory, { federation: other.record.id })).rejects.toMatchObject(wrong)
    await expect(verifyCheckpoint(directory, { releaseKeyPem: other.releaseKeyPem })).rejects.toMatchObject(wrong)
    const junk = verifyCheckpoint(directory, { releaseKeyPem: 'junk' })
    await expect(junk).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('refuses a manifest that another key signed, listed or not', async () => {
    const bytes = readFileSync(join(directory, 'manifest.json'))
    writeFileSync(
      join(directory, 'manifest.sig'),
      canonicalBytes(signMessage(other.releaseKey, DOMAINS.manifest, bytes)),
    )
    await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal('manifest.sig'))
    await expect(verifyCheckpoint(directory, byKey())).rejects.toMatchObject(refusal('manifest.sig'))
    writeFileSync(
      join(directory, 'manifest.sig'),
      canonicalBytes(signMessage(federation.releaseKey, DOMAINS.receipt, bytes)),
    )
    await expect(verifyCheckpoint(directory, byFederation())).rejects.toMatchObject(refusal('manifest.sig'))
  })

  it('refuses a record of another federation that lists the same release key', async () => {
    const record = { ...other.record, releaseKeys: federation.record.releaseKeys }
    const { bytes, signature } = signFederationRecord(record, other.caKey)
    const text = Buffer.from(bytes).toString('utf8')
    writeFileSync(join(directory, 'federation.json'), canonicalBytes({ record: text, signature }))
    await expect(verifyCheckpoint(directory, byKey())).rejects.toMatchObject(refusal('manifest.json'))
  })

  it('refuses a directory that is not there', async () => {
    const nowhere = verifyCheckpoint(join(root, 'nowhere'), byFederation())
    await expect(nowhere).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
  })
})

describe('parseFederationRecord', () => {
  const failed = expect.objectContaining({ code: 'VERIFICATION_FAILED' })
  const signed = (record: FederationRecord, key = federation.caKey) => {
    const bytes = canonicalBytes(record)
    return { bytes, signature: signMessage(key, DOMAINS.federation, bytes) }
  }
  const parse = ({ bytes, signature }: ReturnType<typeof signed>) => parseFederationRecord(bytes, signature)

  it('accepts what signFederationRecord gives, for the federation expected', () => {
    const { bytes, signature } = signFederationRecord(federation.record, federation.caKey)
    expect(parseFederationRecord(bytes, signature, federation.record.id)).toEqual(federation.record)
    expect(federation.record.id).toBe(`sha256:${signature.keyId}`)
    const wrong = expect.objectContaining({ code: 'WRONG_FEDERATION' })
    expect(() => parseFederationRecord(bytes, signature, other.record.id)).toThrow(wrong)
  })

  it('refuses what does not hang together', async () => {
    const { record } = federation
    const [key] = record.releaseKeys
    if (!key) throw new Error('no release key')
    const leaf = await makeFederation({ ca: false })
    expect(() => parse(signed(record, other.caKey))).toThrow(failed)
    expect(() => parse(signed({ ...record, id: other.record.id }))).toThrow(failed)
    expect(() => parse(signed({ ...record, id: ensureFederationId(`sha256:${'0'.repeat(64)}`) }))).toThrow(failed)
    expect(() => parse(signed({ ...record, caCertificate: other.record.caCertificate }))).toThrow(failed)
    expect(() => parse(signed({ ...record, caCertificate: 'junk' }))).toThrow(failed)
    expect(() => parse(signed({ ...record, caCertificate: record.caCertificate.repeat(2) }))).toThrow(failed)
    expect(() => parse(signed({ ...record, releaseKeys: [] }))).toThrow(failed)
    expect(() => parse(signed({ ...record, releaseKeys: [key, key] }))).toThrow(failed)
    expect(() => parse(signed({ ...record, releaseKeys: [{ ...key, keyId: '0'.repeat(64) }] }))).toThrow(failed)
    expect(() => parse(signed({ ...record, releaseKeys: [{ ...key, publicKey: 'junk' }] }))).toThrow(failed)
    expect(() => parse(signed(leaf.record, leaf.caKey))).toThrow(failed)
  })

  it('refuses other bytes for the same record', () => {
    const bytes = Buffer.from(JSON.stringify(federation.record, null, 1))
    const signature = signMessage(federation.caKey, DOMAINS.federation, bytes)
    expect(() => parseFederationRecord(bytes, signature)).toThrow(failed)
  })

  it('takes the id from the key, so that it survives a new certificate', async () => {
    const renewed = await issueCertificate(federation.caKey, { year: 2099 })
    expect(renewed).not.toBe(federation.record.caCertificate)
    expect(federationIdOf(renewed)).toBe(federation.record.id)
    expect(() => federationIdOf('junk')).toThrow(failed)
  })
})
