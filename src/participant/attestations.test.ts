import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { FakeReleases } from '../../test/fake-release.ts'
import { sampleSource } from '../../test/interop/attested.ts'
import { privateKeyFromPem } from '../core/signature.ts'
import { generateKey } from '../identity/key-file.ts'
import { makeAttestations, type SignedManifest } from '../model/attestations.ts'
import type { ModelFile } from '../model/model-file.ts'
import { ATTESTATIONS } from '../model/release-path.ts'
import { pullCheckpoint } from './pull.ts'

const FILES = { 'model.safetensors': Buffer.from('weights'), 'config.json': Buffer.from('{}') }
const REFUSED = { code: 'VERIFICATION_FAILED' }

let fake: FakeCoordinator
let releases: FakeReleases
let parent: string
let directory: string

beforeEach(async () => {
  fake = await FakeCoordinator.create()
  releases = new FakeReleases(fake)
  await fake.listen()
  parent = await mkdtemp(join(tmpdir(), 'tapestry-attested-'))
  directory = join(parent, 'model')
})

afterEach(async () => {
  await fake.close()
  await rm(parent, { recursive: true })
})

const pull = () => {
  const trust = { federation: fake.federation }
  return pullCheckpoint({ address: fake.address, ref: 'global', directory, trust })
}

function attested(signed: SignedManifest, key = fake.releaseKey.privateKey): ModelFile[] {
  return makeAttestations(signed, sampleSource(signed.manifest), privateKeyFromPem(key))
}

describe('pull of an attested checkpoint', () => {
  it('brings the attestations, exactly as they were signed, and nothing when they are there', async () => {
    let made: readonly ModelFile[] = []
    releases.attest = (signed) => {
      made = attested(signed)
      return made
    }
    releases.publish(1, FILES, ['global'])
    expect(await pull()).toMatchObject({ downloaded: true, attestations: ATTESTATIONS })
    for (const { path, bytes } of made) expect(await readFile(join(directory, path))).toEqual(Buffer.from(bytes))
    expect(await pull()).toMatchObject({ downloaded: false, attestations: ATTESTATIONS })
    releases.publish(2, { 'model.safetensors': Buffer.from('new') }, ['global'])
    expect(await pull()).toMatchObject({ downloaded: true, manifest: { version: 2 }, attestations: ATTESTATIONS })
  })

  it('ignores what it does not know', async () => {
    const later = { path: 'attestations/later.json', bytes: Buffer.from('{}') }
    const outside = { path: '../outside.json', bytes: Buffer.from('{}') }
    releases.attest = (signed) => [...attested(signed), later, outside]
    releases.publish(1, FILES, ['global'])
    await pull()
    expect(await readdir(parent)).toEqual(['model'])
    expect(await readdir(join(directory, 'attestations'))).toHaveLength(3)
  })

  it('downloads nothing when one is missing, of another key, or of another checkpoint', async () => {
    const first = attested(signedOf(1))
    const hostile: ((signed: SignedManifest) => readonly ModelFile[])[] = [
      (signed) => attested(signed).slice(1),
      (signed) => attested(signed).slice(0, 3),
      (signed) => attested(signed, generateKey('p-256').privateKey),
      () => first,
      (signed) => attested(signed).map((file) => ({ ...file, bytes: file.bytes.subarray(0, 100) })),
    ]
    for (const [index, attest] of hostile.entries()) {
      releases.attest = attest
      releases.publish(index + 2, FILES, ['global'])
      await expect(pull()).rejects.toMatchObject(REFUSED)
    }
    expect(fake.log).toEqual([])
    expect(await readdir(parent)).toEqual([])
  })
})

/** The manifest of a release and its signature, as the coordinator would attest them. */
function signedOf(version: number): SignedManifest {
  let found: SignedManifest | undefined
  releases.attest = (signed) => {
    found = signed
    return []
  }
  releases.publish(version, FILES)
  if (found === undefined) throw new Error('nothing was published')
  return found
}
