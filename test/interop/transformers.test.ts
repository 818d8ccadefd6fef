import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { LlamaArchitecture } from '../../src/model/llama-config.ts'
import { encodeText } from '../../src/model/tokenizer.ts'
import { verifyCheckpoint } from '../../src/model/verify.ts'
import { weightFilesAmong } from '../../src/model/weight-index.ts'
import { PRESETS } from '../../src/plan/presets.ts'
import { attest } from './attested.ts'
import { ARCHITECTURE, randomLlama, writeCheckpoint } from './checkpoint.ts'
import { engineLoss } from './engine-loss.ts'
import { makeFederation } from './federation.ts'
import { missingReference, transformersLoss } from './transformers.ts'

/** Nats per token; both sides compute in float32, in other orders. */
const TOLERANCE = 1e-4

const root = await mkdtemp(join(tmpdir(), 'interop-'))
afterAll(() => rm(root, { recursive: true }))

const suite = missingReference === undefined ? 'transformers' : `transformers (skipped: ${missingReference})`

describe.skipIf(missingReference !== undefined)(suite, () => {
  it.each([
    ['tied, in shards', { tiedEmbeddings: true }, 'Hakuna  mtu 123 ñ', 16_000],
    ['tied', { tiedEmbeddings: true }, 'Watu wote wamezaliwa huru. Ñuqa <|eos|> 世界 🌍'],
    ['untied, two key heads', { tiedEmbeddings: false, kvHeads: 2, ropeTheta: 5000 }, '\u0000 \t\r\n  café ﷺ '],
  ] as const)('loads a checkpoint: %s', async (name, change, text, shardBytes?: number) => {
    const architecture: LlamaArchitecture = { ...ARCHITECTURE, ...change }
    const directory = join(root, name)
    const federation = await makeFederation()
    await writeCheckpoint(directory, federation, randomLlama(architecture, 7), architecture, shardBytes)
    await attest(directory, federation)
    const { manifest } = await verifyCheckpoint(directory, { federation: federation.record.id })
    const report = await transformersLoss(directory, text)
    expect(report).toMatchObject({
      equalBytes: true,
      dtype: 'torch.float32',
      decoded: text,
      vocabulary: architecture.vocabSize,
      specials: [256, 257, 258],
      missing: [],
      unexpected: [],
      ropeTheta: architecture.ropeTheta,
      generated: 8,
    })
    expect(report.ids).toEqual([...encodeText(text)])
    const files = weightFilesAmong(manifest.files).map(({ path }) => join(directory, path))
    expect(files.length > 1).toBe(shardBytes !== undefined)
    const ours = await engineLoss({ ...PRESETS.tiny, architecture }, files, text)
    // Far from the loss of a model that has learned nothing, ln 259 = 5.56, or the comparison shows nothing.
    expect(report.loss).toBeGreaterThan(6)
    expect(Math.abs(ours - report.loss)).toBeLessThan(TOLERANCE)
  })
})
