import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import { TestNetwork } from '../network.ts'
import { tapestry, tapestryJson } from './processes.ts'
import { textOf } from './texts.ts'

const AGREED = ['--steward', 'Lamu Archive', '--consent', 'community', '--granted', '2025-01-01']
const forecastSchema = z.array(
  z.object({
    run: z.string(),
    datasets: z.array(z.object({ id: z.string().nullable(), rejection: z.object({ reason: z.string() }).nullable() })),
  }),
)

let network: TestNetwork
let home: string
const at = (...parts: string[]) => join(home, ...parts)
const run = (...args: string[]) => tapestry([...args, '--dir', at('node')], { home })

beforeAll(async () => {
  network = await TestNetwork.create()
  home = await mkdtemp(join(tmpdir(), 'tapestry-datasets-'))
  for (const language of ['sw', 'fr']) {
    await mkdir(at(language))
    await writeFile(at(language, `${language}.txt`), textOf('datasets', language))
  }
  await writeFile(at('paper'), 'The council agrees.\n')
  const { invitation } = await network.operator.call(OperatorService.method.createInvitation, { member: 'archive' })
  const joining = [
    'node',
    'join',
    '--dir',
    at('node'),
    '--data',
    at('sw'),
    '--name',
    'archive',
    '--invitation-file',
    '-',
  ]
  expect(await tapestry(joining, { home, input: invitation })).toMatchObject({ code: 0 })
})

afterAll(async () => {
  await network?.close()
  await rm(home, { recursive: true, force: true })
})

/** What a dry run says of each dataset: the reason, or null. */
async function forecast(): Promise<{ code: number | null; reasons: Record<string, string | null> }> {
  const { code, stdout } = await run('node', 'run', '--dry-run', '--run', network.run, '--json')
  const [only] = forecastSchema.parse(JSON.parse(stdout))
  const reasons = only?.datasets.map(({ id, rejection }) => [id ?? '', rejection?.reason ?? null]) ?? []
  return { code, reasons: Object.fromEntries(reasons) }
}

test('text without a record would be refused, and says so before anything is trained', async () => {
  expect(await forecast()).toEqual({ code: 1, reasons: { '': 'NO_RECORD' } })
})

test.each([
  ['without a licence', 2, ['--evidence', 'paper', '--use', 'pretraining']],
  ['with a licence nobody knows', 1, ['--evidence', 'paper', '--use', 'pretraining', '--licence', 'open']],
  ['with evidence that is not there', 3, ['--evidence', 'nowhere', '--use', 'pretraining', '--licence', 'MIT']],
  [
    'with a place that is none',
    2,
    ['--evidence', 'paper', '--use', 'pretraining', '--licence', 'MIT', '--train-in', 'XX'],
  ],
  [
    'in a language that the text is not in',
    2,
    ['--evidence', 'paper', '--use', 'pretraining', '--licence', 'MIT', '--language', 'yo'],
  ],
])('a dataset %s is not added', async (_, code, args) => {
  expect((await run('dataset', 'add', 'radio', ...AGREED, ...args)).code).toBe(code)
  expect((await forecast()).reasons).toEqual({ '': 'NO_RECORD' })
})

test('a dataset that was declared would be trained on, and can be read', async () => {
  const terms = [...AGREED, '--evidence', 'paper', '--use', 'pretraining', '--licence', 'CC-BY-4.0']
  expect(await run('dataset', 'add', 'radio', ...terms)).toMatchObject({ code: 0 })
  expect(await forecast()).toEqual({ code: 0, reasons: { radio: null } })
  expect(await readFile(at('node', 'datasets', 'radio.yaml'), 'utf8')).toContain('licence: CC-BY-4.0')
  const shown = await tapestryJson(z.looseObject({}), ['dataset', 'show', 'radio', '--dir', at('node')], { home })
  expect(shown).toMatchObject({ id: 'radio', languages: ['sw'], texts: [at('sw', 'sw.txt')], withdrawn: null })
  expect((await run('dataset', 'add', 'radio', '--data', at('fr'), ...terms)).code).toBe(1)
})

test('a record beside the text is read with it', async () => {
  const evidence = `sha256:${'a'.repeat(64)}`
  const record = `id: letters
steward: Lamu Archive
title: Letters
languages: [fr]
licence: CC-BY-SA-4.0 OR MIT
consent: { kind: agreement, evidence: "${evidence}", granted: 2025-01-01, expires: 2999-12-31 }
uses: [pretraining]
`
  await writeFile(at('fr', 'tapestry.yaml'), record.replace('uses:', 'usage:'))
  expect((await run('dataset', 'add', '--data', at('fr'))).code).toBe(1)
  await writeFile(at('fr', 'tapestry.yaml'), record)
  expect((await run('dataset', 'add', '--data', at('fr'))).code).toBe(0)
  expect(await forecast()).toEqual({ code: 0, reasons: { letters: null, radio: null } })
})

test('withdrawing asks first, is told to the coordinator, and says that no model holds it', async () => {
  expect((await run('dataset', 'withdraw', 'letters')).code).toBe(2)
  const withdrawn = await run('dataset', 'withdraw', 'letters', '--yes')
  expect(withdrawn).toMatchObject({ code: 0 })
  expect(withdrawn.stdout).toContain('nothing was merged from it')
  expect(await forecast()).toEqual({ code: 1, reasons: { letters: 'CONSENT_WITHDRAWN', radio: null } })
  const { stdout } = await run('node', 'status', '--json')
  expect(JSON.parse(stdout)).toMatchObject({
    datasets: [
      { id: 'letters', state: 'withdrawn' },
      { id: 'radio', state: 'registered' },
    ],
    refusals: [],
  })
})
