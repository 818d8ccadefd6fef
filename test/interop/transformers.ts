import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'

const PYTHON = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
const SCRIPT = fileURLToPath(new URL('transformers.py', import.meta.url))

/** Why the reference cannot run here; undefined when it can. */
export const missingReference: string | undefined = existsSync(PYTHON)
  ? undefined
  : 'no .venv/bin/python: python3 -m venv .venv && .venv/bin/pip install -r test/interop/requirements.txt'

const reportSchema = z.strictObject({
  /** Mean next-token loss of the document (begin, the bytes of the text, end) in nats per token. */
  loss: z.number(),
  /** The loaded parameters equal the weights' files bit for bit, and neither has more. */
  equalBytes: z.boolean(),
  dtype: z.string(),
  ids: z.array(z.number()),
  decoded: z.string(),
  vocabulary: z.number(),
  /** Ids of the tokens for begin, end and padding. */
  specials: z.array(z.number()),
  missing: z.array(z.string()),
  unexpected: z.array(z.string()),
  ropeTheta: z.number(),
  /** Length after generating four tokens from the first four. */
  generated: z.number(),
})

export type TransformersReport = z.infer<typeof reportSchema>

/**
 * Loads a checkpoint directory with transformers' LlamaForCausalLM and AutoTokenizer and computes
 * the next-token loss of `text`, which must fit the model's context: a token per UTF-8 byte, and two.
 */
export async function transformersLoss(directory: string, text: string): Promise<TransformersReport> {
  const output = await run(directory, text)
  return reportSchema.parse(JSON.parse(output))
}

function run(directory: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, HF_HUB_OFFLINE: '1', TRANSFORMERS_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error' }
    const child = execFile(PYTHON, [SCRIPT, directory], { env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`transformers failed:\n${stderr}`, { cause: error }))
      else resolve(stdout)
    })
    child.stdin?.end(text)
  })
}
