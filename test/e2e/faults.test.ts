import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Digest, digestOf } from '../../src/core/digest.ts'
import { TapestryError } from '../../src/core/error.ts'
import { ensureAddress } from '../../src/participant/address.ts'
import { type Channel, openChannel } from '../../src/participant/channel.ts'
import { downloadArtifact } from '../../src/participant/download.ts'
import { parseTlsPem } from '../../src/participant/tls-credential.ts'
import { uploadArtifact } from '../../src/participant/upload.ts'
import { randomFrom } from '../../src/plan/random.ts'
import { FAULT_KINDS, type Fault, FaultProxy } from '../fault-proxy.ts'
import { TestNetwork } from '../network.ts'

const SIZE = 300_000
const BACKOFF = { baseMs: 10, capMs: 100, random: () => 0.5 }
/** Handshakes take some 5 KB each way: faults strike in them, in the call before the bytes, and everywhere in the bytes. */
const faults: fc.Arbitrary<Fault[]> = fc.array(
  fc.record({
    direction: fc.constantFrom('up' as const, 'down' as const),
    afterBytes: fc.oneof(fc.nat(8000), fc.nat(SIZE)),
    kind: fc.constantFrom(...FAULT_KINDS),
  }),
  { minLength: 1, maxLength: 6 },
)

let network: TestNetwork
let proxy: FaultProxy
let directory: string

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 1, settings: { maxOpenUploads: 1000 } })
  proxy = await FaultProxy.start(ensureAddress(network.address).port)
  directory = await mkdtemp(join(tmpdir(), 'tapestry-faults-'))
})

afterAll(async () => {
  await proxy?.close()
  await network?.close()
  await rm(directory, { recursive: true, force: true })
})

function noise(seed: number): Buffer {
  const random = randomFrom(`faults ${seed}`)
  return Buffer.from(Uint32Array.from({ length: SIZE / 4 }, () => random.uint32()).buffer)
}

const node = async () => parseTlsPem((await network.nodes[0]?.directory.readKey('tls.pem')) ?? '')
async function operator() {
  const read = (name: string) => readFile(join(network.directory, 'keys', name), 'utf8')
  return { key: await read('operator.key'), certificate: await read('operator.crt') }
}

/** Does something over a way that breaks as told. @returns the code that it failed with; undefined when it did not. */
async function through(
  script: readonly Fault[],
  identity: { key: string; certificate: string },
  work: (channel: Channel) => Promise<unknown>,
): Promise<string | undefined> {
  proxy.script = [...script]
  const authority = network.parts.secrets.authority.certificate
  const channel = openChannel(ensureAddress(`127.0.0.1:${proxy.port}`), authority, identity)
  try {
    await work(channel)
    return undefined
  } catch (error) {
    return error instanceof TapestryError ? error.code : `no code: ${error}`
  } finally {
    channel.close()
    proxy.script = []
  }
}

async function storedBytes(digest: Digest): Promise<Buffer | undefined> {
  const { blobs } = network.parts.context
  return (await blobs.has(digest)) ? readFile(await blobs.localPath(digest)) : undefined
}

describe('over a way that breaks', () => {
  test('an upload ends whole, or with a code; then it goes on where it was', async () => {
    const identity = await node()
    await fc.assert(
      fc.asyncProperty(faults, fc.nat(), async (script, content) => {
        const bytes = noise(content)
        const artifact = { digest: digestOf(bytes), size: SIZE }
        const file = join(directory, 'file')
        await writeFile(file, bytes)
        const send = (channel: Channel) => uploadArtifact(channel, artifact, file, { backoff: BACKOFF })
        const code = await through(script, identity, send)
        const stored = await storedBytes(artifact.digest)
        expect(code === undefined ? stored : (stored ?? bytes)).toEqual(bytes)
        expect(['UNAVAILABLE', undefined]).toContain(code)
        expect(await through([], identity, send)).toBeUndefined()
        expect(await storedBytes(artifact.digest)).toEqual(bytes)
      }),
      { numRuns: 8, seed: 1 },
    )
  })

  test('a download ends whole, or with a code and without a file', async () => {
    const identity = await operator()
    const bytes = noise(-1)
    const { digest } = await network.parts.context.blobs.put(bytes)
    await fc.assert(
      fc.asyncProperty(faults, async (script) => {
        const target = join(directory, 'target')
        const fetch = (channel: Channel) =>
          downloadArtifact(channel, { digest, size: SIZE }, target, { backoff: BACKOFF })
        const code = await through(script, identity, fetch)
        expect(['UNAVAILABLE', undefined]).toContain(code)
        expect(await readFile(target).catch(() => undefined)).toEqual(code === undefined ? bytes : undefined)
        expect(await through([], identity, fetch)).toBeUndefined()
        expect(await readFile(target)).toEqual(bytes)
        await rm(target)
      }),
      { numRuns: 8, seed: 1 },
    )
  })
})
