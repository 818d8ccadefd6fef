import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RoundKey, RunId } from '../../src/core/ids.ts'
import { ContributionService, SummaryKey } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { ModelService } from '../../src/gen/proto/tapestry/v1/model_pb.ts'
import { type GetRoundResponse, RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { verifyCheckpoint } from '../../src/model/verify.ts'
import type { NodeEvent } from '../../src/participant/node-event.ts'
import { pullCheckpoint } from '../../src/participant/pull.ts'
import type { PlanSpec } from '../../src/plan/spec.ts'
import { MICRO_SPEC, TestNetwork } from '../network.ts'
import type { TestNode } from './test-node.ts'
import { writeTexts } from './texts.ts'
import { until } from './waiting.ts'

/** Three windows fit into the few minutes by which a test may move the clock. */
const WINDOW_MS = 90_000
const SHORT = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }

let network: TestNetwork
let publicSets: string
let [sw, fr, mixed]: readonly TestNode[] = []

beforeAll(async () => {
  publicSets = await mkdtemp(join(tmpdir(), 'tapestry-public-'))
  await writeTexts(publicSets, 'public', ['sw'])
  network = await TestNetwork.create({ settings: { evaluationData: publicSets } })
  sw = await network.addNode('one', ['sw'], 'coast')
  fr = await network.addNode('two', ['fr'])
  mixed = await network.addNode('three', ['vi', 'sw'], 'delta')
})

afterAll(async () => {
  await network?.close()
  await rm(publicSets, { recursive: true, force: true })
})

const nodes = (): readonly TestNode[] => [sw, fr, mixed].filter((node) => node !== undefined)
const inOrder = (ids: readonly string[]) => [...ids].sort()

/** Starts the loops and says how to end them. */
function runAll(run: RunId, those: readonly TestNode[]) {
  const stop = new AbortController()
  const events = new Map(those.map((node) => [node.name, [] as NodeEvent[]]))
  const loops = those.map((node) =>
    node.run({ run, signal: stop.signal, onEvent: (event) => events.get(node.name)?.push(event) }),
  )
  const ended = Promise.all(loops)
  ended.catch(() => undefined)
  return {
    ended,
    eventsOf: (node: TestNode | undefined) => events.get(node?.name ?? '') ?? [],
    async stop() {
      stop.abort()
      return ended
    },
  }
}

describe('two rounds of three nodes', () => {
  let run: RunId
  let rounds: readonly [GetRoundResponse, GetRoundResponse]
  let outcomes: readonly { finished: number; because: string }[]
  let channelBefore: string | undefined
  let initial: string

  beforeAll(async () => {
    run = await network.createRun('two', { target: 3, quorum: 3, rounds: 2, continuous: true })
    channelBefore = (await channel())?.checkpointDigest
    const running = runAll(run, nodes())
    const first = await network.startRound(run)
    initial = first.base
    outcomes = await running.ended
    rounds = [await network.roundEnded(first.key), await network.roundEnded({ run, number: 2 })]
  })

  const channel = async () => {
    const { channels } = await network.channel().call(ModelService.method.listChannels, {})
    return channels.find(({ name }) => name === 'global')
  }
  const summary = async (by: SummaryKey) =>
    (await network.operator.call(ContributionService.method.summarizeContributions, { by, run })).rows

  test('are published, each from the one before', () => {
    expect(rounds.map(({ round }) => round?.phase)).toEqual([RoundPhase.PUBLISHED, RoundPhase.PUBLISHED])
    expect(rounds[0].round?.baseDigest).toBe(initial)
    expect(rounds[1].round?.baseDigest).toBe(rounds[0].round?.checkpointDigest)
    expect(rounds[1].round).toMatchObject({ last: true, roster: 3, accepted: 3, refused: 0, evaluated: 3 })
  })

  test('end the loop of every node, which took part in both', () => {
    expect(outcomes).toEqual([1, 2, 3].map(() => ({ finished: 2, because: 'last' })))
  })

  test('weigh every contribution alike', () => {
    for (const { contributions } of rounds) {
      expect(inOrder(contributions.map(({ node }) => node))).toEqual(inOrder(nodes().map(({ id }) => id)))
      for (const { weight, status, weightReason } of contributions) {
        expect(weight).toBe(1 / 3)
        expect(status).toBe('accepted')
        expect(weightReason).not.toBe('')
      }
    }
  })

  test('move the channel to the last checkpoint', async () => {
    expect(channelBefore).not.toBe(rounds[1].round?.checkpointDigest)
    expect(await channel()).toMatchObject({
      checkpointDigest: rounds[1].round?.checkpointDigest,
      version: 2,
      run,
    })
  })

  test('say per language who measured what, and every language learns', async () => {
    const [swId, frId, mixedId] = nodes().map(({ id }) => id)
    // Where the operator's public set measures a language, nodes are not heard about it.
    const measurers = { fr: [frId], sw: ['coordinator'], vi: [mixedId] }
    for (const { languages } of rounds) {
      const found = languages.map(({ language, measuredBy }) => [language, inOrder(measuredBy)])
      expect(Object.fromEntries(found)).toEqual(
        Object.fromEntries(Object.entries(measurers).map(([tag, ids]) => [tag, inOrder(ids.map(String))])),
      )
    }
    for (const language of Object.keys(measurers)) {
      const score = (response: GetRoundResponse) => response.languages.find((entry) => entry.language === language)
      const first = score(rounds[0])?.base
      const last = score(rounds[1])?.candidate
      expect(first?.tokens).toBeGreaterThan(0n)
      expect(last?.tokens).toBe(first?.tokens)
      expect(last?.standardError).toBeGreaterThan(0)
      expect(last?.mean).toBeLessThan(first?.mean ?? 0)
    }
    const rows = await network.store.reader.evaluations({ run, number: 1 })
    expect(rows.map(({ measuredBy, language }) => `${measuredBy} ${language}`).sort()).toEqual(
      [`${swId} sw`, `${frId} fr`, `${mixedId} sw`, `${mixedId} vi`, 'coordinator sw'].sort(),
    )
  })

  test('leave accounts by language, community, node and round', async () => {
    const keys = async (by: SummaryKey) => (await summary(by)).map(({ key }) => key)
    expect(await keys(SummaryKey.LANGUAGE)).toEqual(['fr', 'sw', 'vi'])
    expect(await keys(SummaryKey.COMMUNITY)).toEqual(['', 'coast', 'delta'])
    expect(await keys(SummaryKey.NODE)).toEqual(inOrder(nodes().map(({ id }) => id)))
    expect(await keys(SummaryKey.ROUND)).toEqual(['two/1', 'two/2'])
    const swahili = (await summary(SummaryKey.LANGUAGE)).find(({ key }) => key === 'sw')
    expect(swahili).toMatchObject({ accepted: 4n, rejected: 0n })
    expect(swahili?.lossAfter).toBeLessThan(swahili?.lossBefore ?? 0)
    const tokens = (await summary(SummaryKey.NODE)).reduce((sum, row) => sum + row.tokens, 0n)
    const reported = rounds.flatMap(({ contributions }) => contributions.flatMap(({ languages }) => languages))
    expect(tokens).toBe(reported.reduce((sum, report) => sum + report.tokens, 0n))
    expect(tokens).toBeGreaterThan(0n)
  })

  test('can be pulled and proved by a stranger', async () => {
    const options = {
      address: network.address,
      ref: 'global',
      directory: join(network.root, 'pulled'),
      trust: { federation: network.federation },
    }
    const pulled = await pullCheckpoint(options)
    expect(pulled).toMatchObject({ digest: rounds[1].round?.checkpointDigest, downloaded: true })
    const { manifest } = await verifyCheckpoint(options.directory, { federation: network.federation })
    expect(manifest).toMatchObject({ run, version: 2, round: 2, base: rounds[0].round?.checkpointDigest })
    expect(manifest.contributions.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 12)
    expect(Object.keys(manifest.scores)).toEqual(['fr', 'sw', 'vi'])
    expect((await pullCheckpoint(options)).downloaded).toBe(false)
  })
})

test('without a quorum a round fails, says so, and the base stands', async () => {
  const run = await network.createRun('thin', { target: 3, quorum: 3, rounds: 2, continuous: true, ...SHORT })
  const { key, base } = await network.startRound(run)
  await mixed?.join(key)
  const running = runAll(
    run,
    [sw, fr].filter((node) => node !== undefined),
  )
  await until('two contributions are in', async () => {
    return (await network.round(key)).round?.accepted === 2 ? true : undefined
  })
  network.clock.advance(WINDOW_MS)
  const { round } = await network.roundEnded(key)
  expect(round).toMatchObject({ phase: RoundPhase.FAILED, accepted: 2, checkpointDigest: '' })
  expect(round?.reason).toMatch(/2/)
  await until('the nodes know', () => {
    const told = [sw, fr].map((node) => running.eventsOf(node).some(({ type }) => type === 'failed'))
    return told.every(Boolean) ? true : undefined
  })
  await running.stop()
  const next = await network.round({ run, number: 2 })
  expect(next.round?.baseDigest).toBe(base)
})

test('a node that misses a round takes part in the next', async () => {
  const run = await network.createRun('missed', { target: 3, quorum: 2, rounds: 2, continuous: true, ...SHORT })
  const first = await network.startRound(run)
  const two = runAll(
    run,
    [sw, fr].filter((node) => node !== undefined),
  )
  await until('two have joined', async () => ((await network.round(first.key)).round?.roster === 2 ? true : undefined))
  network.clock.advance(WINDOW_MS)
  expect((await network.roundEnded(first.key)).round).toMatchObject({ phase: RoundPhase.PUBLISHED, roster: 2 })
  const third = runAll(
    run,
    [mixed].filter((node) => node !== undefined),
  )
  const second: RoundKey = { run, number: 2 }
  expect((await network.roundEnded(second)).round).toMatchObject({
    phase: RoundPhase.PUBLISHED,
    roster: 3,
    accepted: 3,
  })
  expect(await third.ended).toEqual([{ finished: 1, because: 'last' }])
  expect(await two.ended).toEqual([1, 2].map(() => ({ finished: 2, because: 'last' })))
})

/** A delta of some 9 MB: an upload of several pieces. */
const LARGER: PlanSpec = {
  ...MICRO_SPEC,
  architecture: { ...MICRO_SPEC.architecture, hiddenSize: 128, intermediateSize: 512, layers: 8, heads: 4, kvHeads: 4 },
  training: { ...MICRO_SPEC.training, localSteps: 1 },
}

test('a node that stops in the middle of an upload goes on at the stored offset', async () => {
  const run = await network.createRun('cut', { target: 1, quorum: 1, rounds: 1, continuous: true }, LARGER)
  await network.startRound(run)
  const stop = new AbortController()
  const cut = await fr?.run({
    run,
    signal: stop.signal,
    onEvent: (event) => {
      if (event.type === 'uploading' && event.done > 0 && event.done < event.total) stop.abort()
    },
  })
  expect(cut).toEqual({ finished: 0, because: 'stopped' })
  const stored = await until('the coordinator keeps what came', async () => {
    const [upload] = await network.store.reader.uploadsOf(fr?.id ?? nodes()[0]?.id ?? never())
    if (!upload) return undefined
    const size = await network.parts.context.blobs.partial(upload.digest)
    return size > 0 ? { size, whole: upload.size } : undefined
  })
  expect(stored.size).toBeLessThan(stored.whole)

  const events: NodeEvent[] = []
  const again = await fr?.run({ run, onEvent: (event) => events.push(event) })
  expect(again).toEqual({ finished: 1, because: 'last' })
  const trained = events.find((event) => event.type === 'trained')
  expect(trained).toMatchObject({ reused: true })
  const first = events.find((event) => event.type === 'uploading')
  // What was still in flight when it was looked at may have been stored since.
  expect(first?.type === 'uploading' && first.done).toBeGreaterThanOrEqual(stored.size)
  expect((await network.roundEnded({ run, number: 1 })).round?.phase).toBe(RoundPhase.PUBLISHED)
})

function never(): never {
  throw new Error('there are no nodes')
}
