import { setMaxListeners } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { digestOf } from '../../src/core/digest.ts'
import type { RoundKey } from '../../src/core/ids.ts'
import { EnrollmentService } from '../../src/gen/proto/tapestry/v1/enrollment_pb.ts'
import { RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { openNodeClient } from '../../src/participant/client.ts'
import { TestNetwork } from '../network.ts'
import type { TestNode } from './test-node.ts'

const OPEN_BYTES = 10_000
const ROUND_BYTES = 3 * OPEN_BYTES
const CLIENTS = 20
const STREAMS = 1000
/** What one peer may have open, over all of its connections. */
const MOST_STREAMS = 32

let network: TestNetwork
let greedy: TestNode
let other: TestNode
let key: RoundKey

beforeAll(async () => {
  network = await TestNetwork.create({
    participants: 2,
    settings: { maxOpenBytes: OPEN_BYTES, maxRoundBytes: ROUND_BYTES },
  })
  ;[greedy, other] = network.nodes as [TestNode, TestNode]
  ;({ key } = await network.startRound())
})
afterAll(() => network?.close())

test('a node may announce only so many bytes for one round, and what it resumes counts once', async () => {
  const parts = Array.from({ length: ROUND_BYTES / OPEN_BYTES }, (_, part) => digestOf(`part ${part}`))
  const last = digestOf('one more')
  const finish = (digest: typeof last) => network.store.transact('finish', (tx) => tx.removeUploads([digest]))
  for (const part of parts) {
    await greedy.announce(part, OPEN_BYTES)
    await greedy.announce(part, OPEN_BYTES)
    await finish(part)
  }
  const refusal = { code: 'RESOURCE_EXHAUSTED', retryMs: expect.any(Number), message: expect.stringContaining('round') }
  await expect(greedy.announce(last, 1)).rejects.toMatchObject(refusal)
  await greedy.join(key)
  await greedy.announce(last, 1)
  await finish(last)
})

test('a node that opens a thousand streams is held off, and the others go on', async () => {
  const stop = new AbortController()
  setMaxListeners(0, stop.signal)
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, () => openNodeClient(greedy.directory, network.clock)),
  )
  /** Resolves with the first message of a stream, which stays open. */
  const watch = async (index: number) => {
    const client = clients[index % CLIENTS] as (typeof clients)[number]
    const stream = client.receive(RoundService.method.watchRounds, { run: '' }, { signal: stop.signal })
    return stream[Symbol.asyncIterator]().next()
  }
  // A busy machine may be slow to connect: the calls that wait for it are repeated, the streams would not be.
  for (const client of clients) await client.call(EnrollmentService.method.getFederation, {})
  try {
    const opened = await Promise.allSettled(Array.from({ length: STREAMS }, (_, index) => watch(index)))
    const refused = opened.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    expect(refused).toHaveLength(STREAMS - MOST_STREAMS)
    for (const error of refused)
      expect(error).toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryMs: expect.any(Number) })
    await other.join(key)
    expect((await network.round(key)).round?.roster).toBe(2)
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
