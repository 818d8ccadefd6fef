import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { verifyCheckpoint } from '../../src/model/verify.ts'
import { parsePlan } from '../../src/plan/plan.ts'
import { engineLoss } from '../interop/engine-loss.ts'
import { missingReference, transformersLoss } from '../interop/transformers.ts'
import { tapestry } from './processes.ts'

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)
const loss = z.number().positive()

/** The object of the specification: nothing missing, nothing more. */
const reportSchema = z.strictObject({
  rounds: z.array(
    z.strictObject({
      round: z.number(),
      baseDigest: digest,
      checkpointDigest: digest,
      status: z.literal('published'),
      contributions: z.array(
        z.strictObject({
          node: z.string().regex(/^node-[0-9a-f]{32}$/),
          status: z.literal('accepted'),
          weight: z.number(),
          weightReason: z.string().min(1),
          weightDecision: z.looseObject({ policy: z.string(), caps: z.array(z.looseObject({})) }),
          bytes: z.number().positive(),
          reason: z.string().optional(),
          languages: z.record(
            z.string(),
            z.strictObject({ tokens: z.number().positive(), lossBefore: loss, lossAfter: loss }),
          ),
        }),
      ),
      languages: z.record(
        z.string(),
        z.strictObject({ base: loss, candidate: loss, verdict: z.enum(['better', 'same', 'worse', 'unmeasured']) }),
      ),
    }),
  ),
  checkpoint: z.strictObject({ version: z.number(), digest, channel: z.string(), path: z.string() }),
  verified: z.literal(true),
  wallSeconds: z.number().positive(),
  peakRssMb: z.strictObject({ coordinator: z.number().positive(), node: z.number().positive() }),
})

/** Nats per token; transformers computes in float32 too, in another order. */
const TOLERANCE = 1e-4

let home: string
let report: z.infer<typeof reportSchema> | undefined

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tapestry-demo-home-'))
})

afterAll(() => rm(home, { recursive: true, force: true }))

test('the demonstration says what it did, and every language has learned', async () => {
  const keep = join(home, 'kept')
  const { code, stdout, stderr } = await tapestry(
    ['demo', '--nodes', '2', '--rounds', '2', '--languages', 'sw,fr', '--keep', keep, '--json'],
    { home },
  )
  expect(code, stderr).toBe(0)
  report = reportSchema.parse(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''))
  const [first, second] = report.rounds
  expect(report.rounds.map(({ round }) => round)).toEqual([1, 2])
  expect(second?.baseDigest).toBe(first?.checkpointDigest)
  expect(report.checkpoint).toMatchObject({ version: 2, digest: second?.checkpointDigest, channel: 'global' })
  for (const { contributions, languages } of report.rounds) {
    expect(contributions.map(({ weight }) => weight)).toEqual([0.5, 0.5])
    expect(Object.keys(languages).sort()).toEqual(['fr', 'sw'])
  }
  for (const [language, { candidate }] of Object.entries(second?.languages ?? {})) {
    expect(candidate).toBeLessThan(first?.languages[language]?.base ?? 0)
  }
  const verified = await verifyCheckpoint(report.checkpoint.path, {
    federation: await federationOf(report.checkpoint.path),
  })
  expect(verified.digest).toBe(report.checkpoint.digest)
})

const reference = missingReference === undefined ? 'transformers' : `transformers (skipped: ${missingReference})`

test.skipIf(missingReference !== undefined)(
  `the released model loads in ${reference}, and scores the same`,
  async () => {
    const model = report?.checkpoint.path ?? ''
    const { spec } = parsePlan(await readFile(join(model, 'plan.json')))
    const text = 'Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.'
    const theirs = await transformersLoss(model, text)
    expect(theirs).toMatchObject({ equalBytes: true, dtype: 'torch.float32', missing: [], unexpected: [] })
    const ours = await engineLoss(spec, [join(model, 'model.safetensors')], text)
    expect(Math.abs(ours - theirs.loss)).toBeLessThan(TOLERANCE)
    // The text is like what it was trained on: a model that has learnt nothing needs ln 259 = 5.56 nats.
    expect(theirs.loss).toBeLessThan(5)
  },
)

/** The federation that the demonstration made: there is no other way to know it. */
async function federationOf(model: string): Promise<string> {
  const { federation } = z
    .looseObject({ federation: z.string() })
    .parse(JSON.parse(await readFile(join(model, 'manifest.json'), 'utf8')))
  return federation
}
