import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { verifyCheckpoint } from '../../src/model/verify.ts'
import { readExport } from '../ledger-reader.ts'
import { tapestry } from './processes.ts'
import { PATIENCE_MS } from './waiting.ts'

const contribution = z.looseObject({
  node: z.string(),
  status: z.enum(['accepted', 'rejected']),
  weight: z.number(),
  weightReason: z.string().min(1).nullable(),
  reason: z.string().optional(),
  languages: z.record(z.string(), z.looseObject({ tokens: z.number() })),
})
const reportSchema = z.looseObject({
  rounds: z.array(
    z.looseObject({
      round: z.number(),
      status: z.literal('published'),
      contributions: z.array(contribution),
      languages: z.record(
        z.string(),
        z.looseObject({ base: z.number(), candidate: z.number(), verdict: z.enum(['better', 'same']) }),
      ),
    }),
  ),
  checkpoint: z.looseObject({ version: z.literal(2), digest: z.string(), path: z.string() }),
  sovereignty: z.strictObject({
    stopped: z.array(
      z.strictObject({
        ...{ what: z.string(), node: z.string(), round: z.number(), by: z.string(), code: z.string() },
        ...{ weight: z.literal(0), reason: z.string().min(1) },
      }),
    ),
    log: z.strictObject({ entries: z.number(), root: z.string(), path: z.string() }),
  }),
})

let home: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'tapestry-sovereignty-'))
})
afterAll(() => rm(home, { recursive: true, force: true }))

test('what no community agreed to, and what does harm, is kept out of the model, and the log proves it', async () => {
  const run = ['demo', '--scenario', 'sovereignty', '--keep', join(home, 'kept'), '--json']
  const { code, stdout, stderr } = await tapestry(run, { home }, 4 * PATIENCE_MS)
  expect(code, stderr).toBe(0)
  const { rounds, checkpoint, sovereignty } = reportSchema.parse(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''))
  expect(sovereignty.stopped.map(({ what, node, round, code }) => [what, node, round, code]).sort()).toEqual([
    ['poisoned update', 'node-4', 1, 'BELOW_FLOOR'],
    ['poisoned update', 'node-4', 2, 'BELOW_FLOOR'],
    ['share-alike record', 'node-2', 1, 'LICENCE_NOT_CARRIED'],
    ['share-alike record', 'node-2', 2, 'LICENCE_NOT_CARRIED'],
    ['withdrawn consent', 'node-3', 2, 'CONSENT_WITHDRAWN'],
  ])

  const { path, root, entries: size } = sovereignty.log
  const { federation } = z
    .looseObject({ federation: z.string() })
    .parse(JSON.parse(await readFile(join(checkpoint.path, 'manifest.json'), 'utf8')))
  const log = readExport(path, federation)
  expect([log.root, log.entries.length]).toEqual([root, size])
  expect(log.entries.map(({ type }) => type)).toContain('record-withdrawn')
  // Every weight that the report tells stands in the log, with the same reason.
  const logged = log.entries.filter(({ type }) => type === 'weights').flatMap(({ weights }) => weights as unknown[])
  const told = rounds.flatMap(({ contributions }) => contributions).filter(({ status }) => status === 'accepted')
  const pairs = (all: readonly unknown[]) =>
    all.map((one) => z.looseObject({ weight: z.number() }).parse(one)).map(({ weight }) => weight)
  expect(pairs(logged).sort()).toEqual(pairs(told).sort())
  const weighted = z.looseObject({ reason: z.string() })
  expect(logged.map((one) => weighted.parse(one).reason).sort()).toEqual(
    told.map(({ weightReason }) => weightReason).sort(),
  )

  const { manifest } = await verifyCheckpoint(checkpoint.path, { federation })
  expect(manifest.contributions.map(({ weight }) => weight).sort()).toEqual([0, 0.5, 0.5])
  expect(manifest.contributions.flatMap(({ languages }) => Object.keys(languages))).not.toContain('mi')
  for (const { languages } of rounds) {
    for (const { base, candidate } of Object.values(languages)) expect(candidate).toBeLessThan(base)
  }
})
