import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/core/digest.ts'
import { toTapestryError } from '../../src/core/error.ts'
import { RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { TestNetwork } from '../network.ts'
import type { TestNode } from './test-node.ts'
import { until } from './waiting.ts'

const SIZE = 4 * 2 ** 20
const HALF = SIZE / 2

let network: TestNetwork
let node: TestNode

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 1 })
  node = network.nodes[0]!
})

afterAll(() => network?.close())

/** An upload of which half has arrived. */
async function halfUploaded(fill: number) {
  const bytes = Buffer.alloc(SIZE, fill)
  const digest = digestOf(bytes)
  await node.announce(digest, SIZE)
  const headers = {
    Connection: 'close, Upgrade',
    Upgrade: 'tapestry-raw-body',
    'Content-Range': `bytes 0-${SIZE - 1}/${SIZE}`,
    'Content-Length': SIZE,
  }
  const { host, port, tls } = node.client.https
  const sent = request({ host, port, ...tls, method: 'PUT', path: `/v1/artifacts/${digest}`, headers })
  const answered: Promise<IncomingMessage> = once(sent, 'response').then(([response]) => response)
  answered.catch(() => undefined)
  sent.write(bytes.subarray(0, HALF))
  const { blobs } = network.parts.context
  await until('half has arrived', async () => ((await blobs.partial(digest)) > 0 ? true : undefined))
  return { digest, answered, finish: () => sent.end(bytes.subarray(HALF)) }
}

describe('a coordinator that is told to stop', () => {
  test('says so, sends watchers elsewhere, and lets an upload in hand end', async () => {
    const upload = await halfUploaded(1)
    const watching = (async () => {
      for await (const _ of node.client.receive(RoundService.method.watchRounds, { run: '' }));
    })().catch((thrown: unknown) => toTapestryError(thrown).code)
    const readyz = `${network.metrics}/readyz`
    const moved = network.moveTo(undefined, undefined, 600_000)
    expect(await watching).toBe('UNAVAILABLE')
    expect((await fetch(readyz)).status).toBe(503)
    upload.finish()
    expect((await upload.answered).statusCode).toBe(201)
    await moved
    expect((await fetch(`${network.metrics}/readyz`)).status).toBe(200)
  })

  test('cuts an upload at the end of its patience, and the next takes it up where it was', async () => {
    const upload = await halfUploaded(2)
    await network.moveTo(undefined, undefined, 0)
    await expect(upload.answered).rejects.toThrow()
    const { offset } = await node.announce(upload.digest, SIZE)
    expect(Number(offset)).toBeGreaterThan(0)
    expect(Number(offset)).toBeLessThan(SIZE)
  })
})
