import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { DOMAINS, signMessage } from '../../src/core/signature.ts'
import { ArtifactService } from '../../src/gen/proto/tapestry/v1/artifact_pb.ts'
import { ContributionService, SummaryKey } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import type { TensorData } from '../../src/model/safetensors.ts'
import { TestNetwork } from '../network.ts'
import { type Document, documentBytes, type Payload, payloadOf, safetensorsBytes, tensorsOf } from './payload.ts'
import { type Place, putBytes, type TestNode } from './test-node.ts'
import { mayMount, mountTinyDisk } from './tiny-disk.ts'

const MAY_MOUNT = await mayMount()

const MOST_NORM = 10
/** Room for an honest delta, and little more. */
const MOST_BYTES = 2 ** 20

let network: TestNetwork
let good: TestNode
let steady: TestNode
let hostile: TestNode
/** The round that the tests of a group share. */
let round: Place
/** A contribution of the hostile node's that an earlier round has accepted. */
let earlier: { readonly place: Place; readonly document: Document }

beforeAll(async () => {
  const policy = { quorum: 2, maxNorm: MOST_NORM }
  network = await TestNetwork.create({ participants: 3, policy, settings: { maxArtifactBytes: MOST_BYTES } })
  const [first, second, third] = network.nodes
  if (!first || !second || !third) throw new Error('three nodes were asked for')
  good = first
  steady = second
  hostile = third
  earlier = await publishOneRound()
})

afterAll(() => network?.close())

/** So that there is an older checkpoint, an older round and a used nonce. */
async function publishOneRound() {
  const place = await openRound()
  const payload = hostile.delta(network.tensors)
  const document = hostile.claim(place, payload)
  await hostile.upload(payload)
  await hostile.submit(documentBytes(document))
  await good.contribute(place, network.tensors)
  await steady.contribute(place, network.tensors)
  await review(place, [good, steady, hostile])
  return { place, document }
}

async function openRound(): Promise<Place> {
  const place = await network.startRound()
  for (const node of [good, steady, hostile]) await node.join(place.key)
  return place
}

/** The contributors judge, and the round is published. */
async function review(place: Place, contributors: readonly TestNode[]) {
  const { round: evaluating } = await network.roundIn(place.key, RoundPhase.EVALUATING)
  for (const node of contributors) {
    const refusal = await node.report(documentBytes(node.review(place, evaluating?.candidateDigest ?? '')))
    expect(refusal).toBeUndefined()
  }
  const ended = await network.roundEnded(place.key)
  expect(ended.round?.phase, ended.round?.reason).toBe(RoundPhase.PUBLISHED)
  return ended
}

/** Bad input of one kind. `act` sends it and says with which code it was refused. */
type Case = {
  readonly name: string
  readonly code: string
  readonly act: () => Promise<string | undefined>
  /** What is stored and counted; absent for what is refused before anything arrives. */
  readonly counted?: string
}

function refused(name: string, reason: string, act: Case['act']): Case {
  return { name, code: reason, act, counted: reason }
}

/** Sends a payload, and an honest manifest for it. */
function withPayload(name: string, reason: string, make: () => Buffer): Case {
  return refused(name, reason, async () => {
    const payload = payloadOf(make())
    expect((await hostile.upload(payload)).status).toBe(201)
    return (await hostile.submit(documentBytes(hostile.claim(round, payload)))).reason
  })
}

/** Sends an honest payload, and a manifest that is changed before it is signed. */
function withDocument(name: string, reason: string, change: (document: Document) => Document): Case {
  return refused(name, reason, async () => {
    const document = change(await honestDocument())
    return (await hostile.submit(documentBytes(document))).reason
  })
}

async function honestDocument(): Promise<Document> {
  const payload = hostile.delta(network.tensors)
  await hostile.upload(payload)
  return hostile.claim(round, payload)
}

/** Changes the report on the first language. */
function withReport(name: string, reason: string, change: Document): Case {
  return withDocument(name, reason, (document) => {
    const [report] = z.array(z.record(z.string(), z.json())).parse(document['languages'])
    return { ...document, languages: [{ ...report, ...change }] }
  })
}

const tensors = () => tensorsOf(network.tensors)
const last = (list: readonly TensorData[]): TensorData => {
  const tensor = list.at(-1)
  if (!tensor) throw new Error('there are no tensors')
  return tensor
}

/** Tensors of which the last one is another. */
function withLast(change: (tensor: TensorData) => TensorData): Buffer {
  const list = tensors()
  return safetensorsBytes([...list.slice(0, -1), change(last(list))])
}

/** The last value of one tensor is another: an inspection that stops early would not see it. */
function withValue(value: number): Buffer {
  return withLast((tensor) => {
    const data = Float32Array.from(tensor.data)
    data[data.length - 1] = value
    return { ...tensor, data }
  })
}

function vector(name: string): Buffer {
  const file = new URL(`../vectors/safetensors/${name}.json`, import.meta.url)
  const { hex } = z.looseObject({ hex: z.string() }).parse(JSON.parse(readFileSync(file, 'utf8')))
  return Buffer.from(hex, 'hex')
}

const VALUES: readonly Case[] = [
  withPayload('NaN', 'NON_FINITE', () => withValue(Number.NaN)),
  withPayload('infinity', 'NON_FINITE', () => withValue(Number.POSITIVE_INFINITY)),
  withPayload('minus infinity', 'NON_FINITE', () => withValue(Number.NEGATIVE_INFINITY)),
  withPayload('one huge value', 'NORM_TOO_LARGE', () => withValue(3e38)),
  withPayload('many values a little too large', 'NORM_TOO_LARGE', () =>
    safetensorsBytes(tensorsOf(network.tensors, () => 0.5)),
  ),
]

const TENSORS: readonly Case[] = [
  withPayload('a shape that would broadcast', 'SHAPE_MISMATCH', () =>
    withLast((tensor) => ({ ...tensor, shape: [1], data: new Float32Array(1) })),
  ),
  withPayload('one more dimension', 'SHAPE_MISMATCH', () =>
    withLast((tensor) => ({ ...tensor, shape: [1, ...tensor.shape] })),
  ),
  withPayload('two dimensions exchanged', 'SHAPE_MISMATCH', () => {
    const [first, ...rest] = tensors()
    if (!first) throw new Error('there are no tensors')
    return safetensorsBytes([{ ...first, shape: first.shape.toReversed() }, ...rest])
  }),
  withPayload('half precision', 'DTYPE_MISMATCH', () =>
    withLast((tensor) => ({ ...tensor, dtype: 'F16', data: new Uint8Array(tensor.data.length * 2) })),
  ),
  withPayload('integers of the same width', 'DTYPE_MISMATCH', () =>
    withLast((tensor) => ({ ...tensor, dtype: 'I32', data: new Uint8Array(tensor.data.length * 4) })),
  ),
  withPayload('a missing tensor', 'MISSING_TENSOR', () => safetensorsBytes(tensors().slice(0, -1))),
  withPayload('no tensor at all', 'MISSING_TENSOR', () => safetensorsBytes([])),
  withPayload('an extra tensor', 'EXTRA_TENSOR', () => {
    const list = tensors()
    return safetensorsBytes([...list, { ...last(list), name: 'lm_head.weight' }])
  }),
]

const FILES: readonly Case[] = [
  ...['overlap', 'hole-middle', 'not-json', 'duplicate-name', 'shape-negative', 'offsets-reversed', 'length-huge'].map(
    (name) => withPayload(`safetensors: ${name}`, 'MALFORMED', () => vector(name)),
  ),
  withPayload('a file that ends inside its data', 'MALFORMED', () => safetensorsBytes(tensors()).subarray(0, -4)),
  withPayload('a file with something behind its data', 'MALFORMED', () =>
    Buffer.concat([safetensorsBytes(tensors()), Buffer.alloc(4)]),
  ),
  withPayload('a pickle', 'MALFORMED', () =>
    Buffer.from('80049511000000000000008c0a73797374656d2e63616c6c9494', 'hex'),
  ),
  withPayload('three bytes', 'MALFORMED', () => Buffer.from('abc')),
]

const PLACES: readonly Case[] = [
  withDocument('a base that nobody made', 'UNKNOWN_BASE', (document) => ({
    ...document,
    baseDigest: `sha256:${'0'.repeat(64)}`,
  })),
  withDocument('the base of an earlier round', 'STALE_BASE', (document) => ({
    ...document,
    baseDigest: earlier.place.base,
  })),
  withDocument('a round to come', 'WRONG_ROUND', (document) => ({ ...document, round: 1_000_000 })),
  withDocument('a run that is not there', 'WRONG_ROUND', (document) => ({ ...document, run: 'nowhere' })),
  withDocument('another federation', 'WRONG_ROUND', (document) => ({
    ...document,
    federation: `sha256:${'1'.repeat(64)}`,
  })),
  refused('an earlier round, said anew', 'DUPLICATE', async () => {
    const { place } = earlier
    const payload = hostile.delta(network.tensors)
    return (await hostile.submit(documentBytes(hostile.claim(place, payload)))).reason
  }),
  withDocument('a nonce of an earlier round', 'REPLAYED', (document) => ({
    ...document,
    nonce: earlier.document['nonce'] ?? null,
  })),
  refused('the payload of another node', 'REPLAYED', async () => {
    const stolen = good.delta(network.tensors)
    return (await hostile.submit(documentBytes(hostile.claim(round, stolen)))).reason
  }),
  refused('a node that is not on the roster', 'NOT_IN_ROSTER', async () => {
    const late = await network.addNode('late')
    return (await late.contribute(round, network.tensors)).reason
  }),
]

const SIGNATURES: readonly Case[] = [
  refused('by another node', 'BAD_SIGNATURE', async () => {
    const bytes = documentBytes(await honestDocument())
    return (await hostile.submit(bytes, good.sign(bytes))).reason
  }),
  refused("over another node's manifest", 'BAD_SIGNATURE', async () => {
    const bytes = documentBytes(good.claim(round, good.delta(network.tensors)))
    return (await hostile.submit(bytes)).reason
  }),
  refused('for another purpose', 'BAD_SIGNATURE', async () => {
    const bytes = documentBytes(await honestDocument())
    return (await hostile.submit(bytes, signMessage(hostile.key, DOMAINS.evaluation, bytes))).reason
  }),
  refused('of other bytes', 'BAD_SIGNATURE', async () => {
    const document = await honestDocument()
    const signature = hostile.sign(documentBytes({ ...document, round: 1 }))
    return (await hostile.submit(documentBytes(document), signature)).reason
  }),
  refused('that is empty', 'BAD_SIGNATURE', async () => {
    const bytes = documentBytes(await honestDocument())
    return (await hostile.submit(bytes, { ...hostile.sign(bytes), value: '' })).reason
  }),
]

const DOCUMENTS: readonly Case[] = [
  refused('not JSON', 'MALFORMED', async () => (await hostile.submit(Buffer.from('{'))).reason),
  refused('nothing', 'MALFORMED', async () => (await hostile.submit(Buffer.alloc(0))).reason),
  refused('not canonical', 'MALFORMED', async () => {
    const text = documentBytes(await honestDocument()).toString('utf8')
    return (await hostile.submit(Buffer.from(text.replace('{', '{ ')))).reason
  }),
  refused(
    'larger than any document',
    'MALFORMED',
    async () => (await hostile.submit(Buffer.alloc(2 ** 21, 0x20))).reason,
  ),
  withDocument('with a field of its own', 'MALFORMED', (document) => ({ ...document, weight: 1000 })),
  withDocument('with a field twice in other case', 'MALFORMED', (document) => ({ ...document, Nonce: '0' })),
  withDocument('with a short nonce', 'MALFORMED', (document) => ({ ...document, nonce: '00' })),
  withDocument('without a language', 'INVALID_REPORT', (document) => ({ ...document, languages: [] })),
  withReport('with fewer than no tokens', 'INVALID_REPORT', { tokens: -1 }),
  withReport('with half a token', 'INVALID_REPORT', { tokens: 0.5 }),
  withReport('with more tokens than there are', 'INVALID_REPORT', { tokens: 1e300 }),
  withReport('with a loss below zero', 'INVALID_REPORT', { before: { mean: -1, standardError: 0, tokens: 100 } }),
  withReport('with a loss that is no number', 'INVALID_REPORT', {
    before: { mean: null, standardError: 0, tokens: 100 },
  }),
  withReport('measured on two different texts', 'INVALID_REPORT', {
    after: { mean: 5, standardError: 0.01, tokens: 99 },
  }),
  withReport('in a language that is none', 'INVALID_REPORT', { language: 'q-q' }),
  withReport('for a community that breaks lines', 'INVALID_REPORT', { community: 'one\ntwo' }),
]

/** Payload bytes that no other case sends. */
function fresh(scale: number): Payload {
  return payloadOf(safetensorsBytes(tensorsOf(network.tensors, () => scale)))
}

const UPLOADS: readonly Case[] = [
  refused('bytes with another digest', 'DIGEST_MISMATCH', async () => {
    const { digest, bytes } = fresh(2e-5)
    await hostile.announce(digest, bytes.length)
    const other = Buffer.from(bytes)
    other.writeUInt8((other.at(-1) ?? 0) ^ 1, other.length - 1)
    return (await putBytes(hostile.client.https, digest, other, { size: other.length })).code
  }),
  refused('nothing', 'TRUNCATED', async () => {
    return (await hostile.submit(documentBytes(hostile.claim(round, fresh(3e-5))))).reason
  }),
  refused('half of it', 'TRUNCATED', async () => {
    const payload = fresh(4e-5)
    const { digest, bytes } = payload
    await hostile.announce(digest, bytes.length)
    const half = bytes.subarray(0, bytes.length >> 1)
    expect((await putBytes(hostile.client.https, digest, half, { size: bytes.length })).status).toBe(200)
    return (await hostile.submit(documentBytes(hostile.claim(round, payload)))).reason
  }),
  withDocument('another size than the manifest says', 'DIGEST_MISMATCH', (document) => ({
    ...document,
    payloadBytes: 12_345,
  })),
  {
    name: 'more than was announced, as a stream',
    code: 'TOO_LARGE',
    counted: 'TOO_LARGE',
    act: async () => {
      const { digest, bytes } = fresh(5e-5)
      await hostile.announce(digest, bytes.length - 8)
      return codeOf(
        hostile.client.send(
          ArtifactService.method.uploadArtifact,
          (async function* () {
            yield { digest, offset: 0n, data: bytes }
          })(),
        ),
      )
    },
  },
  {
    name: 'more than was announced, in one request',
    code: 'TOO_LARGE',
    counted: 'TOO_LARGE',
    act: async () => {
      const { digest, bytes } = fresh(6e-5)
      await hostile.announce(digest, bytes.length - 8)
      return (await putBytes(hostile.client.https, digest, bytes, { size: bytes.length })).code
    },
  },
  {
    name: 'without an announcement',
    code: 'FAILED_PRECONDITION',
    act: async () => {
      const { digest, bytes } = fresh(7e-5)
      return (await putBytes(hostile.client.https, digest, bytes, { size: bytes.length })).code
    },
  },
  {
    name: 'more than the cap',
    code: 'TOO_LARGE',
    counted: 'TOO_LARGE',
    act: () => codeOf(hostile.announce(fresh(8e-5).digest, MOST_BYTES + 1)),
  },
  {
    name: 'more than a number can hold',
    code: 'INVALID_ARGUMENT',
    act: () =>
      codeOf(
        hostile.client.call(ArtifactService.method.announceArtifact, {
          digest: fresh(8e-5).digest,
          size: 2n ** 64n - 1n,
        }),
      ),
  },
  {
    name: 'more uploads at once than are allowed',
    code: 'RESOURCE_EXHAUSTED',
    act: async () => {
      for (let index = 0; index < 4; index++) {
        const code = await codeOf(hostile.announce(fresh((index + 1) * 1e-6).digest, 1000))
        if (code !== undefined) return code
      }
      return undefined
    },
  },
]

/** The code of a call's failure; undefined when it succeeds. */
async function codeOf(call: Promise<unknown>): Promise<string | undefined> {
  return call.then(
    () => undefined,
    (error) => error.code,
  )
}

const refusals = async () => {
  const counts = new Map(await network.store.reader.rejectionCounts())
  counts.delete('ACCEPTED')
  return counts
}

const refusedInAccounts = async (by: SummaryKey) => {
  const { rows } = await network.operator.call(ContributionService.method.summarizeContributions, { by })
  return rows.reduce((sum, row) => sum + Number(row.rejected), 0)
}

describe.each([
  { group: 'values', cases: VALUES, mends: false },
  { group: 'tensors', cases: TENSORS, mends: true },
  { group: 'files', cases: FILES, mends: false },
  { group: 'places', cases: PLACES, mends: true },
  { group: 'signatures', cases: SIGNATURES, mends: false },
  { group: 'documents', cases: DOCUMENTS, mends: true },
  { group: 'uploads', cases: UPLOADS, mends: true },
])('$group', ({ cases, mends }) => {
  beforeAll(async () => {
    round = await openRound()
    expect(await good.contribute(round, network.tensors)).toMatchObject({ reason: undefined })
  })

  test.each(cases)('$name: $code', async ({ code, counted, act }) => {
    const before = await refusals()
    const inAccounts = await refusedInAccounts(SummaryKey.NODE)
    expect(await act()).toBe(code)
    const expected = new Map(before)
    if (counted !== undefined) expected.set(counted, (before.get(counted) ?? 0) + 1)
    expect(await refusals()).toEqual(expected)
    expect(await refusedInAccounts(SummaryKey.NODE)).toBe(inAccounts + (counted === undefined ? 0 : 1))
    const { round: now } = await network.round(round.key)
    expect(now).toMatchObject({ phase: RoundPhase.COLLECTING, accepted: 1, roster: 3 })
  })

  test(`and the round is published ${mends ? 'with the node that mended its ways' : 'without that node'}`, async () => {
    if (mends) expect((await hostile.contribute(round, network.tensors)).reason).toBeUndefined()
    expect((await steady.contribute(round, network.tensors)).reason).toBeUndefined()
    const contributors = mends ? [good, steady, hostile] : [good, steady]
    const { contributions } = await review(round, contributors)
    const shares = new Map(contributions.map(({ node, weight }) => [node, weight]))
    expect(shares.get(hostile.id)).toBeCloseTo(mends ? 1 / 3 : 0, 12)
    expect(shares.get(good.id)).toBeCloseTo(1 / contributors.length, 12)
    if (!mends) {
      const refusal = contributions.find(({ node }) => node === hostile.id)
      expect(refusal).toMatchObject({ status: 'rejected', rejection: { reason: cases.at(-1)?.counted } })
    }
  })
})

test('a manifest of an earlier round, sent again, changes nothing in this one', async () => {
  const place = await openRound()
  const before = await refusals()
  const bytes = documentBytes(earlier.document)
  const answer = await hostile.submit(bytes)
  expect(answer).toMatchObject({ reason: undefined })
  expect(await refusals()).toEqual(before)
  const { round: now } = await network.round(place.key)
  expect(now).toMatchObject({ phase: RoundPhase.COLLECTING, accepted: 0, refused: 0 })
  await good.contribute(place, network.tensors)
  await steady.contribute(place, network.tensors)
  expect((await hostile.submit(documentBytes({ ...earlier.document, baseDigest: place.base }))).reason).toBe(
    'DUPLICATE',
  )
  expect((await hostile.contribute(place, network.tensors)).reason).toBeUndefined()
  await review(place, [good, steady, hostile])
})

test('a second contribution to the same round is a duplicate; the same one again is not', async () => {
  const place = await openRound()
  const payload = hostile.delta(network.tensors)
  await hostile.upload(payload)
  const bytes = documentBytes(hostile.claim(place, payload))
  const first = await hostile.submit(bytes)
  expect(first.reason).toBeUndefined()
  expect(await hostile.submit(bytes)).toEqual(first)
  expect((await hostile.contribute(place, network.tensors)).reason).toBe('DUPLICATE')
  await good.contribute(place, network.tensors)
  await steady.contribute(place, network.tensors)
  expect((await hostile.submit(bytes)).reason).toBeUndefined()
  const late = await review(place, [good, steady, hostile])
  expect(late.contributions.map(({ weight }) => weight)).toEqual([1 / 3, 1 / 3, 1 / 3])
  expect(
    (await hostile.submit(documentBytes({ ...hostile.claim(place, payload), nonce: 'a'.repeat(32) }))).reason,
  ).toBe('DUPLICATE')
})

test('bad evaluations are refused, and the round is published', async () => {
  const place = await openRound()
  for (const node of [good, steady]) await node.contribute(place, network.tensors)
  const early = documentBytes(good.review(place, `sha256:${'0'.repeat(64)}`))
  expect(await good.report(early)).toBe('ROUND_CLOSED')
  // The third node's answer to the round is a bad one.
  const bad = payloadOf(withValue(Number.NaN))
  await hostile.upload(bad)
  expect((await hostile.submit(documentBytes(hostile.claim(place, bad)))).reason).toBe('NON_FINITE')

  const { round: evaluating } = await network.roundIn(place.key, RoundPhase.EVALUATING)
  const candidate = evaluating?.candidateDigest ?? ''
  const honest = good.review(place, candidate)
  const score = { mean: 5, standardError: 0.01, tokens: 100 }
  const languages = (change: Document) => [
    { language: good.language, community: '', base: score, candidate: score, ...change },
  ]
  const report = (document: Document) => good.report(documentBytes(document))

  expect(await hostile.report(documentBytes(hostile.review(place, candidate)))).toBe('NOT_IN_ROSTER')
  expect(await hostile.report(documentBytes(honest))).toBe('BAD_SIGNATURE')
  expect(await good.report(documentBytes(honest), hostile.sign(documentBytes(honest), DOMAINS.evaluation))).toBe(
    'BAD_SIGNATURE',
  )
  expect(await report({ ...honest, candidateDigest: `sha256:${'0'.repeat(64)}` })).toBe('STALE_BASE')
  expect(await report({ ...honest, baseDigest: earlier.place.base })).toBe('STALE_BASE')
  expect(await report({ ...honest, languages: languages({ language: 'de' }) })).toBe('INVALID_REPORT')
  expect(await report({ ...honest, languages: languages({ candidate: { ...score, mean: -1 } }) })).toBe(
    'INVALID_REPORT',
  )
  expect(await report({ ...honest, languages: languages({ candidate: { ...score, tokens: 99 } }) })).toBe(
    'INVALID_REPORT',
  )
  expect(await report({ ...honest, round: 1_000_000 })).toBe('WRONG_ROUND')
  expect((await network.round(place.key)).round).toMatchObject({ phase: RoundPhase.EVALUATING, evaluated: 0 })
  await review(place, [good, steady])
})

describe('a full disk', () => {
  test.skipIf(!MAY_MOUNT)(
    'in the middle of an upload (needs mount): DISK_FULL; the round goes on when there is room',
    async () => {
      const place = await openRound()
      // Kept uploads are on it; nothing is left for the bytes to come.
      const disk = await mountTinyDisk(join(network.parts.paths.blobs, 'partial'), 4)
      const { digest, bytes } = fresh(9e-5)
      try {
        await good.announce(digest, bytes.length)
        const answer = await putBytes(good.client.https, digest, bytes, { size: bytes.length })
        expect(answer).toMatchObject({ status: 507, code: 'DISK_FULL' })
      } finally {
        await disk.unmount()
      }
      for (const node of [hostile, good, steady]) {
        expect((await node.contribute(place, network.tensors)).reason).toBeUndefined()
      }
      await review(place, [good, steady, hostile])
    },
  )

  test('near at hand: refused before a byte is sent, and nobody is counted out', async () => {
    const full = await TestNetwork.create({ participants: 1, settings: { minFreeBytes: Number.MAX_SAFE_INTEGER } })
    try {
      const [node] = full.nodes
      const place = await full.startRound()
      await node?.join(place.key)
      const payload = payloadOf(safetensorsBytes(tensorsOf(full.tensors)))
      // To the node it is no full disk of its own.
      const announced = node?.announce(payload.digest, payload.bytes.length)
      await expect(announced).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
      const { round: now } = await full.round(place.key)
      expect(now).toMatchObject({ phase: RoundPhase.COLLECTING, roster: 1, refused: 0 })
    } finally {
      await full.close()
    }
  })
})
