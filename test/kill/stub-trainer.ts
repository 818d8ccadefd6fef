import { writeFile } from 'node:fs/promises'
import type { DataSource } from '../../src/engine/sources.ts'
import type { Trainer } from '../../src/participant/trainer.ts'
import { parameterSpecs } from '../../src/plan/parameters.ts'
import { randomFrom } from '../../src/plan/random.ts'
import { safetensorsBytes, tensorsOf } from '../e2e/payload.ts'

const TOKENS = 1000
/** So many that no two nodes ever hand in the same delta, which would be refused as a replay; each is another F32. */
const SCALES = 2 ** 23
const score = (mean: number) => ({ mean, standardError: 0.01, tokens: TOKENS })

/** Learns nothing and always finds the candidate better: the delta is made of the seed alone, so that it costs no time. */
export const STUB_TRAINER: Trainer = {
  async train({ plan, seed, sources, outDelta }) {
    const scale = (SCALES + randomFrom(String(seed)).below(SCALES)) * 2 ** -37
    await writeFile(outDelta, safetensorsBytes(tensorsOf(parameterSpecs(plan.spec), (_, index) => scale * (index % 7))))
    const languages = sources.map((source) => ({
      ...tagsOf(source),
      tokens: TOKENS,
      documents: 1,
      before: score(5.5),
      after: score(5.4),
    }))
    const records = sources.flatMap(({ language, record }) =>
      record === undefined ? [] : [{ record, language, tokens: TOKENS }],
    )
    return { languages, records, excluded: { files: 0, documents: 0 }, steps: 1, wallMs: 1 }
  },
  async score({ weights, sources }) {
    return weights.map(({ name }) => ({
      name,
      languages: sources.map((source) => ({ ...tagsOf(source), ...score(name === 'base' ? 5.5 : 5.4) })),
    }))
  },
}

function tagsOf({ language, community }: DataSource) {
  return { language, community }
}
