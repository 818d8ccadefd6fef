import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureDigest } from '../../src/core/digest.ts'
import type { RunId } from '../../src/core/ids.ts'
import { parseStrategyText } from '../../src/core/strategy.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { parseManifest } from '../../src/model/manifest.ts'
import { readSafetensors } from '../../src/model/safetensors.ts'
import { RoundFolder } from '../../src/participant/round-folder.ts'
import { parsePlan } from '../../src/plan/plan.ts'
import { TestNetwork } from '../network.ts'

let network: TestNetwork
beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2 })
})
afterAll(() => network?.close())

/** Two rounds of two real nodes, the second of which is stopped and started again between them. */
async function twoRounds(id: string, text: string): Promise<RunId> {
  const run = await network.createRun(id, { strategy: parseStrategyText(text), rounds: 2, continuous: true })
  const loops = network.nodes.map(async (node, index) => {
    if (index === 1) await node.run({ run, rounds: 1 })
    return node.run({ run, rounds: index === 1 ? 1 : 2 })
  })
  await network.startRound(run)
  await Promise.all(loops)
  for (const number of [1, 2]) {
    const { round } = await network.roundEnded({ run, number })
    expect(round?.phase, round?.reason).toBe(RoundPhase.PUBLISHED)
  }
  return run
}

async function flat(path: string): Promise<Float32Array> {
  const tensors = [...(await readSafetensors(path))].sort(([a], [b]) => (a < b ? -1 : 1))
  return Float32Array.from(tensors.flatMap(([, { data }]) => [...data]))
}

/** The weights of a version of a run. */
async function weightsOf(run: RunId, version: number): Promise<Float32Array> {
  const { reader } = network.store
  const row = await reader.checkpointByVersion(run, version)
  const { files } = parseManifest(Buffer.from(row?.manifest ?? '', 'utf8'))
  const weights = files.find(({ path }) => path === 'model.safetensors')
  return flat(await network.parts.context.blobs.localPath(weights?.digest ?? ensureDigest('')))
}

async function trainingOf(run: RunId) {
  const row = await network.store.reader.run(run)
  return parsePlan(Buffer.from(row?.plan ?? '', 'utf8')).spec.training
}

describe('easgd', () => {
  const alpha = 0.25

  test('the model and the nodes move towards each other, and nodes go on from their own weights', async () => {
    const run = await twoRounds('elastic', `easgd:alpha=${alpha}`)
    expect(await trainingOf(run)).toMatchObject({ elastic: { alpha } })
    for (const number of [1, 2]) {
      const [center, next] = [await weightsOf(run, number - 1), await weightsOf(run, number)]
      const folders = network.nodes.map((node) => new RoundFolder(node.directory, { run, number }))
      const deltas = await Promise.all(folders.map(({ deltaPath }) => flat(deltaPath)))
      for (const [j, before] of center.entries()) {
        const pull = deltas.reduce((sum, delta) => sum + alpha * delta[j]!, 0)
        if (Math.abs(next[j]! - (before + pull)) > 1e-6) expect(next[j]).toBeCloseTo(before + pull, 6)
      }
      for (const [index, folder] of folders.entries()) {
        const own = await flat(folder.elasticPath)
        const kept = deltas[index]!.map((distance, j) => center[j]! + (1 - alpha) * distance)
        expect(Math.max(...own.map((value, j) => Math.abs(value - kept[j]!)))).toBeLessThan(1e-6)
      }
    }
    // Starting from the base again, the second delta would be one round's training; from their own, it is more.
    const norms = await Promise.all(
      [1, 2].map(async (number) => {
        const path = join(network.nodes[0]!.directory.roundPath({ run, number }), 'delta.safetensors')
        return Math.hypot(...(await flat(path)))
      }),
    )
    expect(norms[1]).toBeGreaterThan(1.1 * norms[0]!)
  })
})

describe('fedprox', () => {
  test('is trained by the nodes, and released under its name', async () => {
    const run = await twoRounds('proximal', 'fedprox:mu=0.5')
    expect(await trainingOf(run)).toMatchObject({ proximal: { mu: 0.5 } })
    const row = await network.store.reader.checkpointByVersion(run, 2)
    const { strategy } = parseManifest(Buffer.from(row?.manifest ?? '', 'utf8'))
    expect(strategy).toEqual({ name: 'fedprox', parameters: { mu: 0.5 } })
  })
})
