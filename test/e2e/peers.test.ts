import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { RoundKey } from '../../src/core/ids.ts'
import { DEFAULT_INFLUENCE } from '../../src/core/influence-choice.ts'
import { DOMAINS } from '../../src/core/signature.ts'
import { ContributionService } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { readSafetensors, writeSafetensors } from '../../src/model/safetensors.ts'
import { readRefusals } from '../../src/participant/policy-file.ts'
import { engineTrainer, type Trainer } from '../../src/participant/trainer.ts'
import { signatureMessage } from '../../src/participant/wire.ts'
import { randomFrom } from '../../src/plan/random.ts'
import { MICRO_SPEC, TestNetwork, WINDOW_MS } from '../network.ts'
import { type Document, documentBytes, type Payload, payloadOf, safetensorsBytes, tensorsOf } from './payload.ts'
import { getBytes, type Place, type TestNode } from './test-node.ts'

/** Enough learning that noise is no improvement, and enough held-out text to see it. */
const SPEC = {
  ...MICRO_SPEC,
  training: { ...MICRO_SPEC.training, localSteps: 40 },
  evaluation: { heldOutFraction: 0.3, maxSequences: 64 },
}
const PEERS = { ...DEFAULT_INFLUENCE, floor: 'peers' as const }
const LANGUAGES = ['sw', 'sw', 'sw', 'sw', 'fr']

let network: TestNetwork
beforeAll(async () => {
  network = await TestNetwork.create({ spec: SPEC })
  for (const [i, language] of LANGUAGES.entries()) await network.addNode(`node-${i + 1}`, [language])
})
afterAll(() => network?.close())

const speakers = () => network.nodes.slice(0, 4)
const nodeAt = (index: number) => network.nodes[index] as TestNode

async function startRun(name: string, nodes: number): Promise<Place> {
  const policy = { target: nodes, quorum: Math.min(2, nodes), rounds: 1, influence: PEERS }
  return network.startRound(await network.createRun(name, policy, SPEC))
}

/** Harmless, and in a direction of its own: no copy of another's. */
function deltaOf(node: TestNode): Payload {
  const random = randomFrom(node.id)
  return payloadOf(safetensorsBytes(tensorsOf(network.tensors, () => random.normal() * 1e-6)))
}

/** A round in which the nodes have handed in harmless deltas by hand. */
async function reviewedRound(name: string, nodes: readonly TestNode[]): Promise<Place> {
  const place = await startRun(name, nodes.length)
  for (const node of nodes) await node.join(place.key)
  for (const node of nodes) {
    const payload = deltaOf(node)
    await node.upload(payload)
    expect((await node.submit(documentBytes(node.claim(place, payload)))).reason).toBeUndefined()
  }
  return place
}

const asked = async (node: TestNode, key: RoundKey) =>
  (await node.client.call(ContributionService.method.listReviews, { round: key })).reviews

function reportOf(node: TestNode, { key, base }: Place, contribution: string, change: Document = {}): Document {
  const score = { mean: 5.5, standardError: 0.01, tokens: 100 }
  return {
    format: 'tapestry-review/1',
    federation: node.membership.federation,
    run: key.run,
    round: key.number,
    node: node.id,
    baseDigest: base,
    contribution,
    languages: [{ language: 'sw', community: '', base: score, candidate: score }],
    ...change,
  }
}

async function send(node: TestNode, report: Document, domain: Parameters<TestNode['sign']>[1] = DOMAINS.review) {
  const bytes = documentBytes(report)
  const signature = signatureMessage(node.sign(bytes, domain))
  const request = { report: bytes, signature }
  return (await node.client.call(ContributionService.method.submitReview, request)).rejection?.reason
}

test('a delta is shown to its reviewers, while they review, and to nobody else', async () => {
  const place = await reviewedRound('shown', network.nodes)
  const { key } = place
  expect((await network.round(key)).round).toMatchObject({ phase: RoundPhase.REVIEWING, reviews: 12, reviewed: 0 })
  const reader = nodeAt(0)
  const [first] = await asked(reader, key)
  const payload = first?.payloadDigest ?? ''
  const french = deltaOf(nodeAt(4)).digest
  expect(await asked(nodeAt(4), key)).toEqual([])
  expect((await getBytes(reader.client.https, payload)).status).toBe(200)
  expect((await getBytes(nodeAt(4).client.https, payload)).status).toBe(404)
  for (const node of speakers()) expect((await getBytes(node.client.https, french)).status).toBe(404)
  expect(await send(reader, reportOf(reader, place, first?.contribution ?? ''))).toBeUndefined()
  expect((await getBytes(reader.client.https, payload)).status).toBe(404)

  const [second] = await asked(reader, key)
  network.clock.advance(WINDOW_MS)
  const { round, contributions } = await network.roundIn(key, RoundPhase.EVALUATING)
  expect(round?.phase).toBe(RoundPhase.EVALUATING)
  for (const { weightDecision, weightReason } of contributions) {
    expect(weightDecision).toMatchObject({ belowFloor: '', peers: expect.stringContaining('not judged') })
    expect(weightReason).toContain(weightDecision?.peers)
  }
  expect((await getBytes(reader.client.https, second?.payloadDigest ?? '')).status).toBe(404)
  expect(await send(reader, reportOf(reader, place, second?.contribution ?? ''))).toBe('ROUND_CLOSED')
})

test('a review that is not what was asked for is refused with a reason, and one that is counts once', async () => {
  const place = await reviewedRound('refused', speakers())
  const node = nodeAt(0)
  const [first, second] = await asked(node, place.key)
  const report = (change: Document) => reportOf(node, place, first?.contribution ?? '', change)
  const score = (mean: number, tokens = 100) => ({ mean, standardError: 0.01, tokens })
  const languages = (language: string, base: Document, candidate: Document) => ({
    languages: [{ language, community: '', base, candidate }],
  })
  const own = (await network.store.reader.contributions(place.key)).find((one) => one.node === node.id)
  const cases: readonly [string, Document][] = [
    ['NOT_IN_ROSTER', report({ contribution: own?.id ?? '' })],
    ['NOT_IN_ROSTER', report({ contribution: `sha256:${'0'.repeat(64)}` })],
    ['WRONG_ROUND', report({ round: 99 })],
    ['STALE_BASE', report({ baseDigest: `sha256:${'0'.repeat(64)}` })],
    ['BAD_SIGNATURE', report({ node: nodeAt(1).id })],
    ['INVALID_REPORT', report(languages('fr', score(5), score(5)))],
    ['INVALID_REPORT', report(languages('sw', score(5), score(-1)))],
    ['INVALID_REPORT', report(languages('sw', score(5), score(1e300)))],
    ['INVALID_REPORT', report(languages('sw', score(5), score(5, 101)))],
    ['MALFORMED', report({ weight: 1 })],
  ]
  for (const [reason, document] of cases) expect([reason, await send(node, document)]).toEqual([reason, reason])
  expect(await send(node, report({}), DOMAINS.evaluation)).toBe('BAD_SIGNATURE')
  expect(await send(nodeAt(4), reportOf(nodeAt(4), place, first?.contribution ?? ''))).toBe('NOT_IN_ROSTER')
  expect(await send(node, report({}))).toBeUndefined()
  expect(await send(node, report(languages('sw', score(1), score(9))))).toBeUndefined()
  expect(await send(node, reportOf(node, place, second?.contribution ?? '', { languages: [] }))).toBeUndefined()
  expect((await network.round(place.key)).round?.reviewed).toBe(2)
  const stored = (await network.store.reader.reviews(place.key)).find(
    (one) => one.reviewer === node.id && one.contribution === first?.contribution,
  )
  expect(stored?.languages?.[0]?.candidate.mean).toBe(5.5)
})

/** Trains, and then hands in noise as long as what it learned. */
function noisy(): Trainer {
  const honest = engineTrainer()
  return {
    ...honest,
    async train(task, signal, onProgress) {
      const trained = await honest.train(task, signal, onProgress)
      const random = randomFrom('noise')
      const learned = [...(await readSafetensors(task.outDelta))].map(([name, tensor]) => ({ name, ...tensor }))
      const norm = Math.hypot(...learned.map(({ data }) => Math.hypot(...data)))
      const size = learned.reduce((sum, { data }) => sum + data.length, 0)
      const noise = learned.map(({ data, ...spec }) => {
        return { ...spec, data: Float32Array.from(data, () => (random.normal() * norm) / Math.sqrt(size)) }
      })
      await writeSafetensors(task.outDelta, noise)
      return trained
    },
  }
}

test('nodes score each other: noise takes no part, and the round goes on without it', async () => {
  const { key } = await startRun('noise', 4)
  const [hostile, ...honest] = speakers()
  await Promise.all([
    hostile?.run({ run: key.run, trainer: noisy() }),
    ...honest.map((node) => node.run({ run: key.run })),
  ])
  const { round, contributions } = await network.roundEnded(key)
  expect(round?.phase).toBe(RoundPhase.PUBLISHED)
  for (const { node, weight, weightDecision } of contributions) {
    expect(weightDecision?.peers).toBe('scored by 3 of 3 peers')
    expect(weight).toBeCloseTo(node === hostile?.id ? 0 : 1 / 3, 9)
  }
  const noise = contributions.find(({ node }) => node === hostile?.id)
  expect(noise?.weightDecision?.belowFloor).toContain('on the text of 3 peers')
})

test('a node whose policy says so stays out of runs that show its delta', async () => {
  const node = nodeAt(4)
  await writeFile(node.directory.policyPath, 'peers: false\n')
  const { key } = await startRun('private', 1)
  const stop = new AbortController()
  await node.run({
    run: key.run,
    signal: stop.signal,
    onEvent: ({ type }) => type === 'declined' && stop.abort(),
  })
  expect(await readRefusals(node.directory, 1)).toMatchObject([{ rule: 'peers', run: key.run }])
  expect((await network.round(key)).round?.roster).toBe(0)
})
