import { mkdtemp, rename, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { ensureDigest } from '../../src/core/digest.ts'
import { ensureRunId } from '../../src/core/ids.ts'
import { parseStrategyText } from '../../src/core/strategy.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { type Manifest, parseManifest } from '../../src/model/manifest.ts'
import { verifyCheckpoint } from '../../src/model/verify.ts'
import { readIndex, shardsOf, WEIGHTS_INDEX, weightFilesAmong } from '../../src/model/weight-index.ts'
import { pullCheckpoint } from '../../src/participant/pull.ts'
import { TestNetwork } from '../network.ts'
import { getBytes } from './test-node.ts'

/** A tenth of the test model, whose largest tensor is larger than that. */
const SHARD_BYTES = 1000
const RUN = ensureRunId('sharded')

let network: TestNetwork
let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'tapestry-shards-'))
  network = await TestNetwork.create({ participants: 2, policy: { shardBytes: SHARD_BYTES } })
})
afterAll(async () => {
  await network?.close()
  await rm(scratch, { recursive: true, force: true })
})

const shardCount = () => shardsOf(network.tensors, SHARD_BYTES).length

async function manifestOf(version: number): Promise<Manifest> {
  const row = await network.store.reader.checkpointByVersion(RUN, version)
  return parseManifest(Buffer.from(row?.manifest ?? '', 'utf8'))
}

/** A command of the product, in this process. */
async function tapestry(...words: string[]): Promise<unknown> {
  let text = ''
  const stdout = { write: (more: string) => (text += more) }
  const io = {
    stdout,
    stderr: { write: () => true },
    env: {},
    clock: network.clock,
    stopSignal: () => new AbortController().signal,
  }
  await (await createProgram(words, io)).parseAsync([...words, '--json'], { from: 'user' })
  return JSON.parse(text)
}

const access = () => ['--dir', network.directory]
const remote = () => ['--address', network.address, '--credentials', join(network.directory, 'keys')]

test('two rounds train from, merge into and publish shards', async () => {
  const strategy = parseStrategyText('fedavgm')
  await network.createRun(RUN, { strategy, rounds: 2, continuous: true })
  const loops = network.nodes.map((node) => node.run({ run: RUN }))
  await network.startRound(RUN)
  expect(await Promise.all(loops)).toEqual(loops.map(() => ({ finished: 2, because: 'last' })))

  for (const version of [0, 1, 2]) {
    const { files, shardBytes } = await manifestOf(version)
    expect(shardBytes).toBe(SHARD_BYTES)
    expect(weightFilesAmong(files)).toHaveLength(shardCount())
    expect(files.map(({ path }) => path)).toContain(WEIGHTS_INDEX)
    expect(files.some(({ path }) => path === 'optimizer.safetensors')).toBe(version > 0)
  }
  for (const where of [access(), remote()]) {
    const replayed = Object(await tapestry('replay', `${RUN}@2`, ...where))
    expect(replayed).toMatchObject({ replayed: true, version: 2 })
    expect(replayed.files).toHaveLength(shardCount() + 2)
  }
})

test('a pull goes on with the shards that it has not, and is verified offline', async () => {
  const directory = join(scratch, 'model')
  const { address, federation } = network
  const pull = () => pullCheckpoint({ address, ref: `${RUN}@2`, directory, trust: { federation } })
  const [first = '', second = '', ...others] = weightFilesAmong((await pull()).manifest.files).map(({ path }) => path)
  const inodes = () => Promise.all([first, ...others].map(async (path) => (await stat(join(directory, path))).ino))
  const before = await inodes()

  // As an interruption in the middle of the second shard leaves it.
  await rename(directory, `${directory}.partial`)
  const half = join(`${directory}.partial`, `${second}.part`)
  await rename(join(`${directory}.partial`, second), half)
  await truncate(half, 100)
  expect(await pull()).toMatchObject({ downloaded: true, manifest: { version: 2, shardBytes: SHARD_BYTES } })
  expect(await inodes()).toEqual(before)
  expect(await verifyCheckpoint(directory, { federation })).toMatchObject({ manifest: { version: 2 } })
})

test('the shards of a candidate are for those who score it', async () => {
  const run = await network.createRun('judged')
  const place = await network.startRound(run)
  for (const node of network.nodes) await node.join(place.key)
  for (const node of network.nodes) await node.contribute(place, network.tensors)
  const { round } = await network.roundIn(place.key, RoundPhase.EVALUATING)
  const candidate = ensureDigest(round?.candidateDigest ?? '')
  const index = await readIndex(await network.parts.context.blobs.localPath(candidate))
  expect(index?.shards).toHaveLength(shardCount())
  const [node] = network.nodes
  for (const digest of [candidate, ...(index?.shards ?? []).map((shard) => shard.digest)]) {
    expect((await getBytes(network.channel().https, digest)).status).not.toBe(200)
    expect(node && (await getBytes(node.client.https, digest)).status).toBe(200)
  }
})
