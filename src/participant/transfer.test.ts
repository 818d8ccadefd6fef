import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { digestOf } from '../core/digest.ts'
import { ensureAddress } from './address.ts'
import { type Channel, openChannel } from './channel.ts'
import { downloadArtifact } from './download.ts'
import { uploadArtifact } from './upload.ts'

const NO_WAIT = { baseMs: 1, capMs: 1, random: () => 0 }
const options = { backoff: NO_WAIT }

/** Bytes that are the same on every machine and look like nothing. */
function noise(size: number, seed = 'noise'): Buffer {
  const blocks: Buffer[] = []
  for (let block = 0; block * 32 < size; block++) {
    blocks.push(createHash('sha256').update(`${seed} ${block}`).digest())
  }
  return Buffer.concat(blocks).subarray(0, size)
}

const withCode = (code: string) => expect.objectContaining({ code })

let fake: FakeCoordinator
let channel: Channel
let directory: string
let file: string
let target: string

beforeEach(async () => {
  fake = await FakeCoordinator.create()
  await fake.listen()
  channel = openChannel(ensureAddress(fake.address), fake.authority.certificate)
  directory = await mkdtemp(join(tmpdir(), 'tapestry-transfer-'))
  file = join(directory, 'file')
  target = join(directory, 'target')
})

afterEach(async () => {
  channel.close()
  await fake.close()
  await rm(directory, { recursive: true })
})

async function artifactOf(bytes: Buffer) {
  await writeFile(file, bytes)
  return { digest: digestOf(bytes), size: bytes.length }
}

describe('upload', () => {
  it('stores a file once', async () => {
    const bytes = noise(700_000)
    const artifact = await artifactOf(bytes)
    await uploadArtifact(channel, artifact, file, options)
    await uploadArtifact(channel, artifact, file, options)
    expect(fake.blobs.get(artifact.digest)?.equals(bytes)).toBe(true)
    expect(fake.log).toEqual(['PUT 0'])
  })

  it('goes on where the connection was cut, wherever that was', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 4 }), async (cuts) => {
        const bytes = noise(900_000, String(cuts))
        const artifact = await artifactOf(bytes)
        fake.log.length = 0
        fake.faults.cutUploads = [...cuts]
        await uploadArtifact(channel, artifact, file, options)
        expect(fake.blobs.get(artifact.digest)?.equals(bytes)).toBe(true)
        const starts = cuts.map((_, index) => cuts.slice(0, index + 1).reduce((sum, cut) => sum + cut, 0))
        expect(fake.log.map((entry) => Number(entry.split(' ')[1]))).toEqual([0, ...starts])
      }),
      { numRuns: 8, seed: 7 },
    )
  })

  it('begins where an earlier life of the node ended', async () => {
    const bytes = noise(300_000)
    const artifact = await artifactOf(bytes)
    fake.sizes.set(artifact.digest, bytes.length)
    fake.partials.set(artifact.digest, bytes.subarray(0, 123_456))
    await uploadArtifact(channel, artifact, file, options)
    expect(fake.log).toEqual(['PUT 123456'])
  })

  it('falls back to the gRPC stream where HTTPS does not pass', async () => {
    const bytes = noise(2_500_000)
    const artifact = await artifactOf(bytes)
    fake.faults.httpStatus = 405
    await uploadArtifact(channel, artifact, file, options)
    expect(fake.blobs.get(artifact.digest)?.equals(bytes)).toBe(true)
    expect(fake.log).toEqual(['stream 0'])
  })

  it('finishes an upload of which only the check is missing', async () => {
    const bytes = noise(1000)
    const artifact = await artifactOf(bytes)
    fake.partials.set(artifact.digest, bytes)
    await uploadArtifact(channel, artifact, file, options)
    expect(fake.blobs.has(artifact.digest)).toBe(true)
  })

  it('gives up when nothing moves', async () => {
    const artifact = await artifactOf(noise(10_000))
    fake.faults.cutUploads = Array.from({ length: 100 }, () => 0)
    fake.faults.httpStatus = undefined
    await fake.close()
    await expect(uploadArtifact(channel, artifact, file, options)).rejects.toEqual(withCode('UNAVAILABLE'))
  })

  it('says so when the file does not have its digest or size', async () => {
    const artifact = await artifactOf(noise(10_000))
    await writeFile(file, noise(10_000, 'other'))
    await expect(uploadArtifact(channel, artifact, file, options)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
    await writeFile(file, noise(9_999))
    await expect(uploadArtifact(channel, artifact, file, options)).rejects.toEqual(withCode('DATA_INVALID'))
  })

  it('stops when told', async () => {
    const artifact = await artifactOf(noise(10_000))
    const stop = AbortSignal.abort(new Error('stop'))
    await expect(uploadArtifact(channel, artifact, file, { ...options, signal: stop })).rejects.toThrow('stop')
  })
})

describe('download', () => {
  it('fetches a file once', async () => {
    const bytes = noise(700_000)
    const digest = digestOf(fake.put(bytes) && bytes)
    await downloadArtifact(channel, { digest, size: bytes.length }, target, options)
    await downloadArtifact(channel, { digest, size: bytes.length }, target, options)
    expect((await readFile(target)).equals(bytes)).toBe(true)
    expect(fake.log).toEqual(['GET 0'])
  })

  it('goes on where the connection was cut, wherever that was', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 4 }), async (cuts) => {
        const bytes = noise(900_000, String(cuts))
        fake.put(bytes)
        fake.log.length = 0
        fake.faults.cutDownloads = [...cuts]
        const path = join(directory, digestOf(bytes).slice(7))
        await downloadArtifact(channel, { digest: digestOf(bytes), maxBytes: 1_000_000 }, path, options)
        expect((await readFile(path)).equals(bytes)).toBe(true)
        const starts = fake.log.map((entry) => Number(entry.split(' ')[1]))
        expect(starts).toEqual([...starts].sort((a, b) => a - b))
        expect(starts).toHaveLength(cuts.length + 1)
      }),
      { numRuns: 8, seed: 7 },
    )
  })

  it('begins where an earlier life ended, and anew when what that left is damaged', async () => {
    const bytes = noise(300_000)
    fake.put(bytes)
    const wanted = { digest: digestOf(bytes), size: bytes.length }
    await writeFile(`${target}.part`, bytes.subarray(0, 1000))
    await downloadArtifact(channel, wanted, target, options)
    await rm(target)
    await writeFile(`${target}.part`, noise(5000, 'damaged'))
    await downloadArtifact(channel, wanted, target, options)
    await rm(target)
    await writeFile(`${target}.part`, noise(400_000, 'too long'))
    await downloadArtifact(channel, wanted, target, options)
    expect((await readFile(target)).equals(bytes)).toBe(true)
    expect(fake.log).toEqual(['GET 1000', 'GET 5000', 'GET 0', 'GET 0'])
  })

  it('finishes a download of which only the renaming is missing', async () => {
    const bytes = noise(1000)
    fake.put(bytes)
    await writeFile(`${target}.part`, bytes)
    await downloadArtifact(channel, { digest: digestOf(bytes), maxBytes: 5000 }, target, options)
    expect((await readFile(target)).equals(bytes)).toBe(true)
  })

  it('replaces a damaged file', async () => {
    const bytes = noise(1000)
    fake.put(bytes)
    await writeFile(target, noise(1000, 'damaged'))
    await downloadArtifact(channel, { digest: digestOf(bytes), size: 1000 }, target, options)
    expect((await readFile(target)).equals(bytes)).toBe(true)
  })

  it('falls back to the gRPC stream where HTTPS does not pass, and resumes there', async () => {
    const bytes = noise(2_500_000)
    fake.put(bytes)
    fake.faults.httpStatus = 503
    fake.faults.cutDownloads = [100_000]
    await downloadArtifact(channel, { digest: digestOf(bytes), size: bytes.length }, target, options)
    expect((await readFile(target)).equals(bytes)).toBe(true)
    expect(fake.log).toEqual(['receive 0', 'receive 100000'])
  })

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['other bytes', (bytes) => noise(bytes.length, 'other')],
    ['more bytes', (bytes) => Buffer.concat([bytes, bytes])],
    ['fewer bytes', (bytes) => bytes.subarray(1)],
  ])('refuses %s than were promised, and keeps none', async (_, tamper) => {
    const bytes = noise(100_000)
    fake.put(bytes)
    fake.faults.tamper = tamper
    for (const wanted of [
      { digest: digestOf(bytes), size: bytes.length },
      { digest: digestOf(bytes), maxBytes: 150_000 },
    ]) {
      await expect(downloadArtifact(channel, wanted, target, options)).rejects.toEqual(withCode('VERIFICATION_FAILED'))
      await expect(stat(target)).rejects.toThrow()
      await expect(stat(`${target}.part`)).rejects.toThrow()
    }
  })

  it('passes a refusal on', async () => {
    const wanted = { digest: digestOf('nothing'), maxBytes: 1 }
    await expect(downloadArtifact(channel, wanted, target, options)).rejects.toEqual(withCode('NOT_FOUND'))
  })

  it('gives up when nothing moves', async () => {
    await fake.close()
    const wanted = { digest: digestOf('nothing'), maxBytes: 1 }
    await expect(downloadArtifact(channel, wanted, target, options)).rejects.toEqual(withCode('UNAVAILABLE'))
  })
})
