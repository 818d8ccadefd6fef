import { setMaxListeners } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { digestOf } from '../../src/core/digest.ts'
import { RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { openNodeClient } from '../../src/participant/client.ts'
import { TestNetwork } from '../network.ts'
import type { TestNode } from './test-node.ts'

const OPEN_BYTES = 10_000
const CLIENTS = 20
const STREAMS = 1000
/** What one peer may have open, over all of its connections. */
const MOST_STREAMS = 32

let network: TestNetwork
let greedy: TestNode
let other: TestNode

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2, settings: { maxOpenBytes: OPEN_BYTES } })
  ;[greedy, other] = network.nodes as [TestNode, TestNode]
})
afterAll(() => network?.close())

test('a node that opens a thousand streams is held off, and the others go on', async () => {
  const stop = new AbortController()
  setMaxListeners(0, stop.signal)
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, () => openNodeClient(greedy.directory, network.clock)),
  )
  const { key } = await network.startRound()
  /** Resolves with the first message of a stream, which stays open. */
  const watch = async (index: number) => {
    const client = clients[index % CLIENTS] as (typeof clients)[number]
    const stream = client.receive(RoundService.method.watchRounds, { run: '' }, { signal: stop.signal })
    return stream[Symbol.asyncIterator]().next()
  }
  try {
    const opened = await Promise.allSettled(Array.from({ length: STREAMS }, (_, index) => watch(index)))
    const refused = opened.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    expect(refused).toHaveLength(STREAMS - MOST_STREAMS)
    for (const error of refused)
      expect(error).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryMs: expect.any(Number) })
    await other.join(key)
    expect((await network.round(key)).round?.roster).toBe(1)
  } finally {
    stop.abort()
    for (const client of clients) client.close()
  }
})

test('a node may announce only so many bytes before it has sent them', async () => {
  const announce = (node: TestNode, name: string, size: number) => node.announce(digestOf(name), size)
  await announce(greedy, 'first', OPEN_BYTES - 1)
  await expect(announce(greedy, 'second', 2)).rejects.toMatchObject({
    code: 'RESOURCE_EXHAUSTED',
    retryMs: expect.any(Number),
  })
  await announce(greedy, 'third', 1)
  await announce(other, 'fourth', OPEN_BYTES)
})
