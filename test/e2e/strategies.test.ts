import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { replayMerge } from '../../src/aggregation/replay.ts'
import { createProgram } from '../../src/cli/program.ts'
import { ensureDigest } from '../../src/core/digest.ts'
import { ensureRunId, type RunId } from '../../src/core/ids.ts'
import { parseStrategyText } from '../../src/core/strategy.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { parseManifest } from '../../src/model/manifest.ts'
import { digestOfFile } from '../../src/participant/file-digest.ts'
import { TestNetwork } from '../network.ts'
import { documentBytes, payloadOf, safetensorsBytes, tensorsOf } from './payload.ts'
import { tapestry as runProcess } from './processes.ts'
import type { Place, TestNode } from './test-node.ts'

/** Fits into the few minutes by which a test may move the clock. */
const WINDOW_MS = 90_000

let network: TestNetwork
beforeAll(async () => {
  network = await TestNetwork.create({ participants: 5 })
})
afterAll(() => network?.close())

/** Four nodes that agree but for a little, and one whose delta is another and far larger. */
async function contribute(place: Place, node: TestNode, index: number): Promise<void> {
  const value = (name: string, at: number) => {
    const common = ((name.length * 31 + at * 17) % 101) / 101 - 0.5
    return index === 4 ? -0.05 * common : 1e-4 * common * (1 + index / 50) + 1e-6 * ((at + index) % 3)
  }
  const payload = payloadOf(safetensorsBytes(tensorsOf(network.tensors, value)))
  await node.upload(payload)
  expect((await node.submit(documentBytes(node.claim(place, payload)))).reason).toBeUndefined()
}

/** One whole round by hand. @returns digest of its checkpoint */
async function round(run: RunId, number: number): Promise<string> {
  const started = number === 1 ? await network.startRound(run) : undefined
  const key = { run, number }
  const place = started ?? { key, base: (await network.round(key)).round?.baseDigest ?? '' }
  for (const node of network.nodes) await node.join(key)
  for (const [index, node] of network.nodes.entries()) await contribute(place, node, index)
  const { round: merged } = await network.roundIn(key, RoundPhase.EVALUATING)
  expect(merged?.phase).toBe(RoundPhase.EVALUATING)
  for (const node of network.nodes) await node.report(documentBytes(node.review(place, merged?.candidateDigest ?? '')))
  const { round: ended } = await network.roundEnded(key)
  expect(ended?.phase).toBe(RoundPhase.PUBLISHED)
  return ended?.checkpointDigest ?? ''
}

/** A command of the product, in this process. */
async function tapestry(...words: string[]): Promise<Record<string, unknown>> {
  let text = ''
  const stdout = { write: (more: string) => (text += more) }
  const stderr = { write: () => true }
  const io = { stdout, stderr, env: {}, clock: network.clock, stopSignal: () => AbortSignal.timeout(60_000) }
  const program = await createProgram(words, io)
  await program.parseAsync([...words, '--json'], { from: 'user' })
  return JSON.parse(text)
}

const here = () => ['--dir', network.directory]
const elsewhere = () => ['--address', network.address, '--credentials', join(network.directory, 'keys')]

const FAMILIES = ['clipped-mean:limit=0.01', 'trimmed-mean:trim=1', 'krum:byzantine=1', 'geometric-median', 'fedadam']

describe.each(FAMILIES)('%s', (text) => {
  const strategy = parseStrategyText(text)
  const run = strategy.name

  test('is chosen, merges two rounds, says so, and can be replayed here and from elsewhere', async () => {
    const id = await network.createRun(`${run}-micro`, { strategy, rounds: 2, continuous: true })
    await round(id, 1)
    const checkpoint = await round(id, 2)
    const row = await network.store.reader.checkpoint(ensureDigest(checkpoint))
    const manifest = parseManifest(Buffer.from(row?.manifest ?? '', 'utf8'))
    expect(manifest.strategy).toEqual(strategy)
    const files = manifest.files.map(({ path }) => path)
    expect(files.includes('optimizer.safetensors')).toBe(strategy.name === 'fedadam')
    for (const access of [here(), elsewhere()]) {
      const replayed = await tapestry('replay', `${id}@2`, ...access)
      expect(replayed).toMatchObject({ replayed: true, digest: checkpoint, version: 2, strategy })
    }
  })

  test('shows who was far away and what was kept of each', async () => {
    const shown = await tapestry('round', 'inspect', `${run}-micro/1`, ...here())
    expect(shown).toMatchObject({ strategy })
    const { contributions, cosines } = Object(shown['diagnostics'])
    const large = contributions.filter(({ outlier }: { outlier: boolean }) => outlier)
    expect(large.map(({ node }: { node: string }) => node)).toEqual([network.nodes[4]?.id])
    expect(cosines).toHaveLength(5)
    if (strategy.name === 'krum') expect(large[0].coefficient).toBe(0)
  })
})

test('a replay finds a damaged blob, and another merge than the one that was released', async () => {
  const { reader } = network.store
  const { blobs } = network.parts.context
  const id = ensureRunId('krum-micro')
  const [base, checkpoint] = await Promise.all([1, 2].map((version) => reader.checkpointByVersion(id, version)))
  const [before, manifest] = [base, checkpoint].map((one) => parseManifest(Buffer.from(one?.manifest ?? '', 'utf8')))
  if (before === undefined || manifest === undefined) throw new Error('no checkpoints')
  const other = await replayMerge({
    manifest: { ...manifest, strategy: parseStrategyText('mean') },
    base: before,
    pathOf: (digest) => blobs.localPath(digest),
    digestOf: async (path) => (await digestOfFile(path)).digest,
    scratch: await blobs.scratch(),
  })
  expect(other.map(({ found, released }) => found === released)).toEqual([false])

  const path = await blobs.localPath(manifest.contributions[0]?.payload ?? ensureDigest(''))
  const bytes = await readFile(path)
  const damaged = Buffer.from(bytes)
  damaged[damaged.length - 1]! ^= 1
  await writeFile(path, damaged)
  await expect(tapestry('replay', `${id}@2`, ...here())).rejects.toMatchObject({ code: 'VERIFICATION_FAILED' })
  const replayed = await runProcess(['replay', `${id}@2`, ...here(), '--json'], { home: network.directory })
  expect(replayed).toMatchObject({ code: 5, stdout: '' })
  expect(JSON.parse(replayed.stderr)).toMatchObject({ error: { code: 'VERIFICATION_FAILED' } })
  await writeFile(path, bytes)
  await expect(tapestry('replay', `${id}@0`, ...here())).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
})

describe('as processes', () => {
  const run = (...words: string[]) => runProcess(words, { home: network.directory })

  test.each([...FAMILIES, 'mean', 'fedprox:mu=0.01', 'easgd:alpha=0.1'])('run create --strategy %s', async (text) => {
    const strategy = parseStrategyText(text)
    const id = `process-${strategy.name}`
    const created = await run('run', 'create', id, '--preset', 'tiny', '--strategy', text, ...here(), '--json')
    expect(created, created.stderr).toMatchObject({ code: 0 })
    expect(JSON.parse(created.stdout)).toMatchObject({ run: id })
    expect((await network.store.reader.run(ensureRunId(id)))?.policy.strategy).toEqual(strategy)
  })

  test.each([
    'krum:byzantine=1 --quorum 4',
    'trimmed-mean:trim=3 --quorum 6',
    'krum:byzantine=1 --target 4',
    'easgd:alpha=0.5 --target 3',
    'krum',
    'fedprox:mu=0',
    'average',
  ])('run create refuses --strategy %s', async (words) => {
    const created = await run(
      'run',
      'create',
      'never',
      '--preset',
      'tiny',
      '--strategy',
      ...words.split(' '),
      ...here(),
    )
    expect(created).toMatchObject({ code: 2, stdout: '' })
  })

  test('round inspect shows weights, factors and the map of cosines, without colour', async () => {
    const { code, stdout } = await run('round', 'inspect', 'krum-micro/1', ...here())
    expect(code).toBe(0)
    expect(stdout).toMatch(/WEIGHT +FACTOR/)
    expect(stdout).toMatch(/20\.0% +1\.0000/)
    expect(stdout).toMatch(/cosines between contributions.*░ 0\.25/)
    expect(stdout).toMatch(/^ {3}1 █ {2}1\.00 /m)
    expect(stdout).not.toContain('\u001b')
  })
})

test('too few contributions for the strategy are not merged, and the round says why', async () => {
  const strategy = parseStrategyText('krum:byzantine=1')
  await expect(network.createRun('unsound', { strategy, quorum: 4 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  })
  const windows = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }
  const run = await network.createRun('few', { strategy, ...windows })
  const place = await network.startRound(run)
  for (const node of network.nodes) await node.join(place.key)
  for (const [index, node] of network.nodes.slice(0, 4).entries()) await contribute(place, node, index)
  network.clock.advance(WINDOW_MS)
  const { round: ended } = await network.roundEnded(place.key)
  expect(ended).toMatchObject({ phase: RoundPhase.FAILED, accepted: 4, candidateDigest: '' })
  expect(ended?.reason).toMatch(/4 of the 5.*krum/)
})
