import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeCoordinator } from '../../test/fake-coordinator.ts'
import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureNodeId } from '../core/ids.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import { OperatorService } from '../gen/proto/tapestry/v1/operator_pb.ts'
import { ensureAddresses } from './address.ts'
import type { Channel } from './channel.ts'
import { downloadArtifact } from './download.ts'
import { openPublicClient } from './public-client.ts'
import { beginningWith, firstAnswering, openReplicas, spreadBy } from './replicas.ts'
import { uploadArtifact } from './upload.ts'

const options = { backoff: { baseMs: 1, capMs: 1, random: () => 0 } }
const BYTES = Buffer.alloc(600_000, 'replica')
const ARTIFACT = { digest: digestOf(BYTES), size: BYTES.length }

let fakes: [FakeCoordinator, FakeCoordinator]
let channel: Channel
let directory: string
/** Which replica was asked what. */
let asked: string[]

async function replica(name: string, like?: FakeCoordinator, port = 0): Promise<FakeCoordinator> {
  const fake = await FakeCoordinator.create(like)
  fake.unary(ModelService, {
    listChannels: () => {
      asked.push(`${name} list`)
      return {}
    },
  })
  fake.unary(OperatorService, {
    startRound: () => {
      asked.push(`${name} start`)
      throw new TapestryError('UNAVAILABLE', 'who knows whether it was done')
    },
  })
  await fake.listen(port)
  return fake
}

const addresses = () => ensureAddresses(fakes.map(({ address }) => address).join(','))
const list = () => channel.call(ModelService.method.listChannels, {})

beforeEach(async () => {
  asked = []
  const first = await replica('a')
  fakes = [first, await replica('b', first)]
  channel = openReplicas(addresses(), fakes[0].authority.certificate)
  directory = await mkdtemp(join(tmpdir(), 'tapestry-replicas-'))
})

afterEach(async () => {
  channel.close()
  await Promise.all(fakes.map((fake) => fake.close()))
  await rm(directory, { recursive: true })
})

describe('a channel to replicas', () => {
  it('stays with one, goes on with the other when that one fails, and stays there', async () => {
    await list()
    await list()
    await fakes[0].close()
    await list()
    fakes[0] = await replica('a', fakes[1], addresses()[0].port)
    await list()
    expect(asked).toEqual(['a list', 'a list', 'b list', 'b list'])
    await fakes[1].close()
    await list()
    expect(asked.at(-1)).toBe('a list')
  })

  it('fails as one coordinator does when none answers', async () => {
    await Promise.all(fakes.map((fake) => fake.close()))
    await expect(list()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  it('never repeats a call that would do something again, and finds who answers before it', async () => {
    await fakes[0].close()
    const start = () => channel.call(OperatorService.method.startRound, { run: 'run' })
    await expect(start()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(asked).toEqual(['b start'])
  })

  it('goes on with an upload where the other replica lost it', async () => {
    const file = join(directory, 'file')
    await writeFile(file, BYTES)
    fakes[0].faults.cutUploads = [250_000]
    await uploadArtifact(channel, ARTIFACT, file, options)
    expect(fakes[0].blobs.get(ARTIFACT.digest)?.equals(BYTES)).toBe(true)
    expect([fakes[0].log, fakes[1].log]).toEqual([['PUT 0'], ['PUT 250000']])
  })

  it('goes on with a download where the other replica lost it', async () => {
    fakes[0].blobs.set(ARTIFACT.digest, BYTES)
    fakes[0].faults.cutDownloads = [250_000]
    expect(await downloadArtifact(channel, ARTIFACT, join(directory, 'target'), options)).toEqual(ARTIFACT)
    expect(fakes[0].log).toEqual(['GET 0'])
    expect(fakes[1].log).toHaveLength(1)
    expect(fakes[1].log[0]).toMatch(/^GET [1-9]/)
  })
})

describe('a stranger', () => {
  it('meets whichever replica answers, and keeps the way to the others', async () => {
    await fakes[0].close()
    const text = fakes.map(({ address }) => address).join(',')
    const client = await openPublicClient(text, { federation: fakes[1].federation })
    try {
      fakes[0] = await replica('a', fakes[1], addresses()[0].port)
      await fakes[1].close()
      await client.call(ModelService.method.listChannels, {})
      expect([client.address.text, asked]).toEqual([fakes[0].address, ['a list']])
    } finally {
      client.close()
    }
  })
})

describe('addresses', () => {
  const some = ensureAddresses('a:1, b:2,[::1]:3')

  it.each(['', 'a:1,', 'a:1,a:1', 'a', 'a:1,b', Array.from({ length: 9 }, (_, n) => `a:${n + 1}`).join()])(
    'refuses "%s"',
    (text) => expect(() => ensureAddresses(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' })),
  )

  it('are the same ones whichever comes first, and spread nodes evenly enough', () => {
    const counts = new Map<string, number>()
    for (let n = 0; n < 300; n++) {
      const spread = spreadBy(some, ensureNodeId(`node-${digestOf(String(n)).slice(-32)}`))
      expect(spread.map(({ text }) => text).sort()).toEqual(some.map(({ text }) => text).sort())
      counts.set(spread[0].text, (counts.get(spread[0].text) ?? 0) + 1)
    }
    expect(Math.min(...counts.values())).toBeGreaterThan(70)
    expect(beginningWith(some, some[2]!).map(({ text }) => text)).toEqual(['[::1]:3', 'a:1', 'b:2'])
  })

  it('are asked in turn while they fail for a time, and not beyond a failure that lasts', async () => {
    const tried: string[] = []
    const ask = (code: 'UNAVAILABLE' | 'WRONG_FEDERATION') =>
      firstAnswering(some, async ({ text }) => {
        tried.push(text)
        if (text === '[::1]:3') return text
        throw new TapestryError(text === 'b:2' ? code : 'UNAVAILABLE', text)
      })
    expect(await ask('UNAVAILABLE')).toMatchObject({ answer: '[::1]:3' })
    expect(tried.splice(0)).toEqual(['a:1', 'b:2', '[::1]:3'])
    await expect(ask('WRONG_FEDERATION')).rejects.toMatchObject({ code: 'WRONG_FEDERATION' })
    expect(tried).toEqual(['a:1', 'b:2'])
  })
})
