import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestOf, fromHex } from '../../src/core/digest.ts'
import { ensureMemberId, ensureNodeId, ensureRunId } from '../../src/core/ids.ts'
import { DOMAINS, signMessage } from '../../src/core/signature.ts'
import { MEAN } from '../../src/core/strategy.ts'
import { modelCard } from '../../src/model/card.ts'
import { signFederationRecord } from '../../src/model/federation-record.ts'
import { type LlamaArchitecture, llamaConfigJson } from '../../src/model/llama-config.ts'
import { type Manifest, manifestBytes } from '../../src/model/manifest.ts'
import { type TensorData, writeSafetensors } from '../../src/model/safetensors.ts'
import { writeCheckpointSidecars } from '../../src/model/sidecars.ts'
import { tokenizerFiles, VOCABULARY_SIZE } from '../../src/model/tokenizer.ts'
import { type TrainingFacts, trainingContent } from '../../src/model/training-content.ts'
import {
  contentsOf,
  indexBytes,
  indexOf,
  shardPaths,
  shardsOf,
  WEIGHTS_FILE,
  WEIGHTS_INDEX,
} from '../../src/model/weight-index.ts'
import type { TestFederation } from './federation.ts'

export const ARCHITECTURE: LlamaArchitecture = {
  kind: 'llama',
  vocabSize: VOCABULARY_SIZE,
  hiddenSize: 16,
  intermediateSize: 44,
  layers: 2,
  heads: 4,
  kvHeads: 4,
  contextLength: 128,
  normEpsilon: 1e-5,
  ropeTheta: 10_000,
  tiedEmbeddings: true,
}

const digest = (text: string): Digest => digestOf(text)

/** A manifest of two contributions, without files. */
export function sampleManifest(federation: TestFederation): Omit<Manifest, 'files'> {
  const contribution = (name: string, weight: number) => ({
    id: digest(name),
    node: ensureNodeId(`node-${name.padEnd(32, '0')}`),
    member: ensureMemberId(`member-${name}`),
    payload: digest(`payload ${name}`),
    bytes: 1234,
    weight,
    reason: 'uniform',
    languages: { sw: 1000, quz: 20 },
  })
  const score = {
    base: { mean: 5.5, standardError: 0.01, tokens: 99 },
    candidate: { mean: 5.25, standardError: 0.02, tokens: 99 },
  }
  return {
    format: 'tapestry-manifest/1',
    federation: federation.record.id,
    run: ensureRunId('demo'),
    version: 1,
    round: 1,
    parents: [digest('parent')],
    plan: digest('plan'),
    base: digest('parent'),
    strategy: MEAN,
    contributions: [contribution('aa', 0.25), contribution('bb', 0.75)],
    scores: { sw: { ...score, measuredBy: ['node-a', 'coordinator'] }, quz: { ...score, measuredBy: ['coordinator'] } },
  }
}

/** What trained the sample manifest's checkpoint: two members, one of them with a community and a declared dataset. */
export function sampleTraining({ federation, run, version, base }: Omit<Manifest, 'files'>): TrainingFacts {
  const [a, b] = [ensureMemberId('member-aa'), ensureMemberId('member-bb')]
  return {
    federation,
    provider: 'Test federation',
    run,
    version,
    base,
    shares: [
      { member: a, language: 'quz', community: 'runasimi', tokens: 20, documents: 2 },
      { member: a, language: 'sw', community: '', tokens: 1000, documents: 10 },
      { member: b, language: 'sw', community: '', tokens: 500, documents: 5 },
    ],
    datasets: [
      { member: a, title: 'Village library', steward: 'Council', licence: 'CC-BY-4.0', source: 'publicDatasets' },
    ],
  }
}

/** Writes a whole signed checkpoint with the given weights into `directory`, as a download leaves it. */
export async function writeCheckpoint(
  directory: string,
  federation: TestFederation,
  weights: readonly TensorData[],
  architecture: LlamaArchitecture = ARCHITECTURE,
  shardBytes = Number.POSITIVE_INFINITY,
): Promise<Manifest> {
  const source = sampleManifest(federation)
  await mkdir(directory, { recursive: true })
  await writeWeights(directory, weights, shardBytes)
  await writeFile(join(directory, 'config.json'), llamaConfigJson(architecture, { dtype: 'float32' }))
  for (const { path, bytes } of tokenizerFiles()) await writeFile(join(directory, path), bytes)
  const training = trainingContent(sampleTraining(source))
  const card = modelCard(source, { name: 'Demo', license: 'Apache-2.0', architecture, training })
  await writeFile(join(directory, 'README.md'), card)
  const manifest: Manifest = { ...source, files: await listFiles(directory) }
  const bytes = manifestBytes(manifest)
  const { bytes: record, signature } = signFederationRecord(federation.record, federation.caKey)
  await writeCheckpointSidecars(directory, {
    manifest: bytes,
    signature: signMessage(federation.releaseKey, DOMAINS.manifest, bytes),
    federation: { record, signature },
  })
  return manifest
}

/** Weights as a checkpoint has them: one file, or shards and their index. */
export async function writeWeights(
  directory: string,
  weights: readonly TensorData[],
  shardBytes: number,
): Promise<void> {
  const shards = shardsOf(weights, shardBytes)
  const paths = shardPaths(join(directory, WEIGHTS_FILE), shards.length)
  for (const [i, path] of paths.entries()) await writeSafetensors(path, shards[i] ?? [], { format: 'pt' })
  if (shards.length === 1) return
  const files = await Promise.all(
    paths.map(async (path) => {
      const bytes = await readFile(path)
      return { digest: digestOf(bytes), size: bytes.byteLength }
    }),
  )
  await writeFile(join(directory, WEIGHTS_INDEX), indexBytes(indexOf(shards.map(contentsOf), files)))
}

async function listFiles(directory: string) {
  const paths = await readdir(directory)
  return Promise.all(
    paths.map(async (path) => {
      const bytes = await readFile(join(directory, path))
      return { path, digest: fromHex(createHash('sha256').update(bytes).digest('hex')), size: bytes.byteLength }
    }),
  )
}

/** Names and shapes of a Llama's tensors as `LlamaForCausalLM` has them, with pseudo-random weights. */
export function randomLlama(architecture: LlamaArchitecture, seed: number): TensorData[] {
  const { vocabSize, hiddenSize, intermediateSize, heads, kvHeads, layers } = architecture
  const keyValue = (hiddenSize / heads) * kvHeads
  const shapes: [string, number[]][] = [['model.embed_tokens.weight', [vocabSize, hiddenSize]]]
  for (let layer = 0; layer < layers; layer += 1) {
    const prefix = `model.layers.${layer}`
    shapes.push([`${prefix}.input_layernorm.weight`, [hiddenSize]])
    shapes.push([`${prefix}.self_attn.q_proj.weight`, [hiddenSize, hiddenSize]])
    shapes.push([`${prefix}.self_attn.k_proj.weight`, [keyValue, hiddenSize]])
    shapes.push([`${prefix}.self_attn.v_proj.weight`, [keyValue, hiddenSize]])
    shapes.push([`${prefix}.self_attn.o_proj.weight`, [hiddenSize, hiddenSize]])
    shapes.push([`${prefix}.post_attention_layernorm.weight`, [hiddenSize]])
    shapes.push([`${prefix}.mlp.gate_proj.weight`, [intermediateSize, hiddenSize]])
    shapes.push([`${prefix}.mlp.up_proj.weight`, [intermediateSize, hiddenSize]])
    shapes.push([`${prefix}.mlp.down_proj.weight`, [hiddenSize, intermediateSize]])
  }
  shapes.push(['model.norm.weight', [hiddenSize]])
  if (!architecture.tiedEmbeddings) shapes.push(['lm_head.weight', [vocabSize, hiddenSize]])
  const next = uniform(seed)
  return shapes.map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1)
    const data = Float32Array.from({ length }, () => (shape.length === 1 ? 1 + next() * 0.5 : next() * 2))
    return { name, dtype: 'F32', shape, data }
  })
}

/** Uniform in [-0.5, 0.5). Source: mulberry32. */
function uniform(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 - 0.5
  }
}
