import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ensureDigest } from '../../src/core/digest.ts'
import type { RunId } from '../../src/core/ids.ts'
import { parseStrategyText } from '../../src/core/strategy.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { readSafetensors, type TensorData } from '../../src/model/safetensors.ts'
import { TestNetwork } from '../network.ts'
import { type Document, documentBytes, type Payload, payloadOf, safetensorsBytes, tensorsOf } from './payload.ts'
import type { Place, TestNode } from './test-node.ts'

/** Fits into the few minutes by which a test may move the clock. */
const WINDOW_MS = 90_000
const MOST_NORM = 10
const HONEST = 5

let network: TestNetwork
beforeAll(async () => {
  network = await TestNetwork.create({ participants: HONEST + 1, policy: { maxNorm: MOST_NORM } })
})
afterAll(() => network?.close())

const honest = () => network.nodes.slice(0, HONEST)
const hostile = (): TestNode => {
  const node = network.nodes[HONEST]
  if (node === undefined) throw new Error('one more node was asked for')
  return node
}

/** The tensors of an honest delta, of which the last is another. */
function withLast(change: (tensor: TensorData) => TensorData): Buffer {
  const list = tensorsOf(network.tensors)
  return safetensorsBytes(list.map((tensor, i) => (i === list.length - 1 ? change(tensor) : tensor)))
}

function withBits(bits: number): Buffer {
  return withLast((tensor) => {
    const data = Float32Array.from(tensor.data)
    new Uint32Array(data.buffer)[data.length - 1] = bits
    return { ...tensor, data }
  })
}

function vector(name: string): Buffer {
  const file = new URL(`../vectors/safetensors/${name}.json`, import.meta.url)
  return Buffer.from(z.looseObject({ hex: z.string() }).parse(JSON.parse(readFileSync(file, 'utf8'))).hex, 'hex')
}

/** Every class of bad contribution, each with the reason for which it is refused. */
const PAYLOADS: readonly [string, string, () => Buffer][] = [
  ['a quiet NaN with a payload', 'NON_FINITE', () => withBits(0x7fc0_1234)],
  ['a signalling, negative NaN', 'NON_FINITE', () => withBits(0xff80_0001)],
  ['an infinity', 'NON_FINITE', () => withBits(0xff80_0000)],
  ['a value that is huge', 'NORM_TOO_LARGE', () => withBits(0x7f7f_ffff)],
  [
    'an update a thousand times too large',
    'NORM_TOO_LARGE',
    () => safetensorsBytes(tensorsOf(network.tensors, () => 1)),
  ],
  [
    'a shape that would broadcast',
    'SHAPE_MISMATCH',
    () => withLast((tensor) => ({ ...tensor, shape: [1], data: new Float32Array(1) })),
  ],
  [
    'bfloat16 NaNs',
    'DTYPE_MISMATCH',
    () => withLast((tensor) => ({ ...tensor, dtype: 'BF16', data: new Uint8Array(tensor.data.length * 2).fill(0xff) })),
  ],
  ['a missing tensor', 'MISSING_TENSOR', () => safetensorsBytes(tensorsOf(network.tensors).slice(1))],
  [
    'an extra tensor',
    'EXTRA_TENSOR',
    () => {
      const list = tensorsOf(network.tensors)
      return safetensorsBytes([...list, { ...(list[0] as TensorData), name: 'more' }])
    },
  ],
  ['a header bomb', 'MALFORMED', () => vector('length-huge')],
  ['a file that ends inside its data', 'MALFORMED', () => safetensorsBytes(tensorsOf(network.tensors)).subarray(0, -4)],
]

const DOCUMENTS: readonly [string, string, Document][] = [
  ['a base that nobody made', 'UNKNOWN_BASE', { baseDigest: `sha256:${'0'.repeat(64)}` }],
  ['a round to come', 'WRONG_ROUND', { round: 1_000_000 }],
  ['a weight of its own', 'MALFORMED', { weight: 1e9 }],
  ['fewer than no tokens', 'INVALID_REPORT', { languages: [] }],
]

/** The hostile node tries everything; nothing is taken. */
async function attack(place: Place): Promise<void> {
  const node = hostile()
  const send = async (payload: Payload, change: Document = {}) => {
    await node.upload(payload)
    return (await node.submit(documentBytes({ ...node.claim(place, payload), ...change }))).reason
  }
  for (const [name, reason, make] of PAYLOADS) expect(await send(payloadOf(make())), name).toBe(reason)
  for (const [name, reason, change] of DOCUMENTS) {
    expect(await send(node.delta(network.tensors), change), name).toBe(reason)
  }
  const stolen = contributionOf(0)
  expect(await send(stolen), 'the contribution of another').toBe('REPLAYED')
}

/** Values at the edges of f32 that a contribution may hold: denormals, signed zeros, and one that is large. */
function contributionOf(index: number): Payload {
  const edges = [1e-45, -1e-45, 0, -0, 1.1754943508222875e-38, -3e-39, 1e-4]
  const value = (name: string, at: number) =>
    at === 0 && name.length % 2 === 0 ? 0.5 : (edges[(at + index + name.length) % edges.length] ?? 0) * (1 + index / 9)
  return payloadOf(safetensorsBytes(tensorsOf(network.tensors, value)))
}

/** The honest nodes from number `first` on, to `end` exclusive. */
async function contribute(place: Place, first: number, end: number): Promise<void> {
  for (const [index, node] of honest().entries()) {
    if (index < first || index >= end) continue
    const payload = contributionOf(index)
    await node.upload(payload)
    expect((await node.submit(documentBytes(node.claim(place, payload)))).reason).toBeUndefined()
  }
}

async function begin(run: RunId): Promise<Place> {
  const place = await network.startRound(run)
  for (const node of network.nodes) await node.join(place.key)
  return place
}

describe.each([
  'mean',
  'clipped-mean:limit=0.01',
  'median',
  'trimmed-mean:trim=1',
  'krum:byzantine=1',
  'multi-krum:byzantine=1,chosen=2',
  'geometric-median',
  'fedavgm',
  'fedadam',
  'fedyogi',
  'fedadagrad',
  'diloco',
  'fedprox:mu=0.01',
  'easgd:alpha=0.1',
])('%s', (text) => {
  test('refuses each class of bad contribution by its code, and finishes the round without it', async () => {
    const strategy = parseStrategyText(text)
    const run = await network.createRun(`hostile-${strategy.name}`, { strategy, quorum: HONEST })
    const place = await begin(run)
    await contribute(place, 0, 1)
    await attack(place)
    await contribute(place, 1, HONEST)
    const { round } = await network.roundIn(place.key, RoundPhase.EVALUATING)
    expect(round, round?.reason).toMatchObject({ phase: RoundPhase.EVALUATING, accepted: HONEST, refused: 1 })
    const candidate = round?.candidateDigest ?? ''
    const path = await network.parts.context.blobs.localPath(ensureDigest(candidate))
    for (const { data } of (await readSafetensors(path)).values()) expect(data.every(Number.isFinite)).toBe(true)
    for (const node of honest()) await node.report(documentBytes(node.review(place, candidate)))
    expect((await network.roundEnded(place.key)).round?.phase).toBe(RoundPhase.PUBLISHED)
  })
})

test.each([
  ['krum:byzantine=1', 5],
  ['multi-krum:byzantine=1,chosen=4', 5],
  ['trimmed-mean:trim=2', 5],
])('%s does not seal with fewer than %d, and the round says so', async (text, fewest) => {
  const strategy = parseStrategyText(text)
  const windows = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }
  const unsound = network.createRun('unsound', { strategy, quorum: fewest - 1 })
  await expect(unsound).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  const small = network.createRun('small', { strategy, target: fewest - 1, quorum: fewest - 1 })
  await expect(small).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })

  const run = await network.createRun(`few-${strategy.name}`, { strategy, quorum: fewest, ...windows })
  const place = await begin(run)
  await contribute(place, 0, fewest - 1)
  await attack(place)
  expect((await network.round(place.key)).round?.phase).toBe(RoundPhase.COLLECTING)
  network.clock.advance(WINDOW_MS)
  const { round } = await network.roundEnded(place.key)
  expect(round).toMatchObject({ phase: RoundPhase.FAILED, accepted: fewest - 1, candidateDigest: '' })
  expect(round?.reason).toContain(`${fewest - 1} of the ${fewest}`)
  expect(round?.reason).toContain(text)
})
