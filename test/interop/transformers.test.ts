import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { LlamaArchitecture } from '../../src/model/llama-config.ts'
import { encodeText } from '../../src/model/tokenizer.ts'
import { verifyCheckpoint } from '../../src/model/verify.ts'
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
    ['tied', { tiedEmbeddings: true }, 'Watu wote wamezaliwa huru. Ñuqa <|eos|> 世界 🌍'],
    ['untied, two key heads', { tiedEmbeddings: false, kvHeads: 2, ropeTheta: 5000 }, '\u0000 \t\r\n  café ﷺ '],
  ] as const)('loads a checkpoint: %s', async (name, change, text) => {
    const architecture: LlamaArchitecture = { ...ARCHITECTURE, ...change }
    const directory = join(root, name)
    const federation = await makeFederation()
    await writeCheckpoint(directory, federation, randomLlama(architecture, 7), architecture)
    await attest(directory, federation)
    await verifyCheckpoint(directory, { federation: federation.record.id })
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
    const ours = await engineLoss({ ...PRESETS.tiny, architecture }, join(directory, 'model.safetensors'), text)
    // Far from the loss of a model that has learned nothing, ln 259 = 5.56, or the comparison shows nothing.
    expect(report.loss).toBeGreaterThan(6)
    expect(Math.abs(ours - report.loss)).toBeLessThan(TOLERANCE)
  })
})
