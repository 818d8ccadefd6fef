import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { examineDeltas } from '../../src/aggregation/examine.ts'
import { mergeMean } from '../../src/aggregation/merge.ts'
import { F32 } from '../../src/core/codec.ts'
import { ensureLanguageTag } from '../../src/core/language-tag.ts'
import { runEngine } from '../../src/engine/engine.ts'
import type { ScoredLanguage } from '../../src/engine/messages.ts'
import type { DataSource } from '../../src/engine/sources.ts'
import { publicEvidence } from '../../src/jobs/public-sets.ts'
import { readSafetensors, writeSafetensors } from '../../src/model/safetensors.ts'
import { parameterSpecs } from '../../src/plan/parameters.ts'
import { makePlan } from '../../src/plan/plan.ts'
import { randomFrom, shuffled } from '../../src/plan/random.ts'
import { judgePeers, type PeerReview } from '../../src/policy/peer-floor.ts'
import { judgeNorms, judgePublic } from '../../src/policy/quality-floor.ts'
import { initialParameters } from '../initial-parameters.ts'
import { MICRO_SPEC } from '../network.ts'
import { textOf } from './texts.ts'

/** A model that has begun to learn: the honest improve it a little, which is when attacks are hard to tell. */
const STEPS = { base: 60, node: 20 }
const plan = (localSteps: number) => makePlan({ ...MICRO_SPEC, training: { ...MICRO_SPEC.training, localSteps } })
const PARAMETERS = parameterSpecs(MICRO_SPEC)
const LIMITS = { wallClockMs: 300_000, memoryMb: 4096 }
const HONEST = ['sw', 'fr', 'vi', 'en', 'sw', 'sw']
const HINDI = ['सभी', 'मनुष्य', 'जन्म', 'से', 'स्वतंत्र', 'और', 'समान', 'हैं', 'गरिमा', 'अधिकार']

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tapestry-quality-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

type Delta = ReadonlyMap<string, Float32Array>

async function sourceOf(name: string, language: string, text: string): Promise<DataSource> {
  await mkdir(join(root, name), { recursive: true })
  const path = join(root, name, `${language}.txt`)
  await writeFile(path, text)
  return { path, language: ensureLanguageTag(language), community: '' }
}

async function train(
  name: string,
  baseWeights: string,
  sources: readonly DataSource[],
  steps: number,
): Promise<string> {
  const outDelta = join(root, `${name}.safetensors`)
  const task = { kind: 'train', plan: plan(steps), baseWeights: [baseWeights], sources, seed: name, outDelta } as const
  await runEngine(task, { limits: LIMITS })
  return outDelta
}

/** A base that knows a little of every language. */
async function makeBase(): Promise<string> {
  const first = join(root, 'first.safetensors')
  const values = initialParameters(MICRO_SPEC)
  await save(first, new Map(PARAMETERS.map(({ name }) => [name, values.get(name) ?? new Float32Array()])))
  const sources = await Promise.all([...new Set(HONEST)].map((tag) => sourceOf('base', tag, textOf('base', tag))))
  const delta = await train('begin', first, sources, STEPS.base)
  const base = join(root, 'base.safetensors')
  await mergeMean({ base: [first], deltas: [{ path: delta, weight: 1 }], out: base })
  return base
}

async function save(path: string, delta: Delta): Promise<string> {
  await writeSafetensors(
    path,
    PARAMETERS.map((spec) => ({ ...spec, data: delta.get(spec.name) ?? new Float32Array() })),
  )
  return path
}

async function load(path: string): Promise<Delta> {
  return new Map([...(await readSafetensors(path))].map(([name, { data }]) => [name, Float32Array.from(data)]))
}

function map(delta: Delta, change: (value: number) => number): Delta {
  return new Map([...delta].map(([name, data]) => [name, data.map(change)]))
}

/** Noise as long as the delta. */
function noiseLike(delta: Delta): Delta {
  const random = randomFrom('noise')
  const noise = map(delta, () => random.normal())
  const norm = (one: Delta) => Math.hypot(...[...one.values()].map((data) => Math.hypot(...data)))
  const scale = norm(delta) / norm(noise)
  return map(noise, (value) => value * scale)
}

/** The bytes of every line in another order: the letters of the language, and nothing else of it. */
function scrambled(text: string): string {
  const random = randomFrom('scramble')
  return text
    .split('\n')
    .map((line) => shuffled([...line], random).join(''))
    .join('\n')
}

type Case = { readonly name: string; readonly path: string; readonly language: string }

async function makeCases(base: string): Promise<Case[]> {
  const own = await train('own', base, [await sourceOf('own', 'sw', textOf('own', 'sw'))], STEPS.node)
  const hindi = Array.from({ length: 40 }, (_, i) => shuffled(HINDI, randomFrom(`line ${i}`)).join(' ')).join('\n')
  const alone = await train('alone', base, [await sourceOf('alone', 'hi', hindi)], STEPS.node)
  const bad = await sourceOf('bad', 'sw', scrambled(textOf('bad', 'sw')))
  const shuffledText = await train('shuffled', base, [bad], STEPS.node)
  const delta = await load(own)
  const other = await load(join(root, 'honest-0.safetensors'))
  const forged = async (name: string, values: Delta): Promise<Case> => {
    const path = join(root, `forged-${randomBytes(4).toString('hex')}.safetensors`)
    return { name, path: await save(path, values), language: 'sw' }
  }
  return [
    { name: 'honest, a language that others have too', path: own, language: 'sw' },
    { name: 'honest, alone with its language and script', path: alone, language: 'hi' },
    await forged(
      'sign flipped',
      map(delta, (value) => -value),
    ),
    await forged(
      'scaled by 10',
      map(delta, (value) => 10 * value),
    ),
    await forged(
      'scaled by 1000',
      map(delta, (value) => 1000 * value),
    ),
    await forged('noise of the same norm', noiseLike(delta)),
    await forged(
      'noise of ten times the norm',
      map(noiseLike(delta), (value) => 10 * value),
    ),
    { name: 'trained on text with its letters shuffled', path: shuffledText, language: 'sw' },
    await forged(
      'copied base (a delta of zero)',
      map(delta, () => 0),
    ),
    await forged(
      "another node's update, written anew",
      map(other, (value) => value),
    ),
    await forged(
      "another node's update, a tenth larger",
      map(other, (value) => 1.1 * value),
    ),
  ]
}

/** Base, and base with each contribution alone: files to score. */
async function aloneWith(base: string, cases: readonly Case[]): Promise<readonly { name: string; files: string[] }[]> {
  const merged = cases.map(async ({ path }, i) => {
    const out = join(root, `alone-${i}.safetensors`)
    await mergeMean({ base: [base], deltas: [{ path, weight: 1 }], out })
    return { name: `${i}`, files: [out] }
  })
  return [{ name: 'base', files: [base] }, ...(await Promise.all(merged))]
}

type Weights = Awaited<ReturnType<typeof aloneWith>>

async function scores(weights: Weights, sources: readonly DataSource[], heldOutFraction: number) {
  const spec = { ...MICRO_SPEC, evaluation: { heldOutFraction, maxSequences: 64 } }
  const task = { kind: 'score', plan: makePlan(spec), weights, sources } as const
  return (await runEngine(task, { limits: LIMITS })).weights.map(({ languages }) => languages)
}

async function publicScores(weights: Weights): Promise<(readonly ScoredLanguage[])[]> {
  const sources = await Promise.all([...new Set(HONEST)].map((tag) => sourceOf('public', tag, textOf('public', tag))))
  return scores(weights, sources, 0.5)
}

/** What the Swahili nodes find on text that they did not train on: for each contribution, a review by each of them. */
async function swahiliReviews(weights: Weights, cases: readonly Case[]): Promise<PeerReview[][]> {
  const nodes = HONEST.flatMap((tag, i) => (tag === 'sw' ? [`honest-${i}`] : []))
  const sources = await Promise.all(
    nodes.map(async (node) => ({ ...(await sourceOf(node, 'sw', textOf(node, 'sw'))), community: node })),
  )
  const [before = [], ...after] = await scores(weights, sources, MICRO_SPEC.evaluation.heldOutFraction)
  return cases.map(({ language }, i) => {
    const found = publicEvidence(before, after[i] ?? []).filter((one) => one.language === language)
    return found.map((one) => ({ voice: one.community, languages: [one] }))
  })
}

/** A review turned into its opposite, and more. */
function lie({ voice, languages }: PeerReview): PeerReview {
  const turned = languages.map(({ candidate, ...one }) => {
    const mean = Math.max(0, one.base.mean - 3 * (candidate.mean - one.base.mean))
    return { ...one, candidate: { ...candidate, mean } }
  })
  return { voice, languages: turned }
}

function peersOf(one: Case, reviews: readonly PeerReview[], liars = 0): string | null {
  const told = reviews.map((review, i) => (i < liars ? lie(review) : review))
  return judgePeers(told, randomFrom(one.name)).below
}

it('catches at each floor what docs/QUALITY.md says, and nobody who is honest', async () => {
  const base = await makeBase()
  const honest: string[] = []
  for (const [i, tag] of HONEST.entries()) {
    honest.push(
      await train(`honest-${i}`, base, [await sourceOf(`honest-${i}`, tag, textOf(`honest-${i}`, tag))], STEPS.node),
    )
  }
  const cases = await makeCases(base)
  const weights = await aloneWith(base, cases)
  const [before = [], ...after] = await publicScores(weights)
  const reviews = await swahiliReviews(weights, cases)
  const rows: string[] = []
  for (const [i, one] of cases.entries()) {
    const { norms, cosines } = await examineDeltas([base], [...honest, one.path], F32, undefined)
    const judged = norms.map((norm, k) => ({ node: `node-${k}`, norm, acceptedAt: k }))
    const byNorms = judgeNorms(judged, cosines)
    // Whatever the attack, none of the others pays for it.
    expect(byNorms.slice(0, HONEST.length)).toEqual(HONEST.map(() => null))
    const own = publicEvidence(before, after[i] ?? []).filter(({ language }) => language === one.language)
    const { below } = judgePublic(own, randomFrom(one.name))
    const first = byNorms.at(-1) ?? null
    const peers = peersOf(one, reviews[i] ?? [])
    rows.push(`| ${one.name} | ${wordFor(first)} | ${wordFor(first ?? below)} | ${wordFor(first ?? peers)} |`)
  }
  expect(rows.slice(0, 2).every((row) => row.endsWith('| passes | passes | passes |'))).toBe(true)
  const honestCase = cases[0]!
  const noise = cases.findIndex(({ name }) => name === 'noise of the same norm')
  const lies = [0, 1, 2].map((liars) => {
    const ofHonest = wordFor(peersOf(honestCase, reviews[0] ?? [], liars))
    return `| ${liars} of 3 | ${ofHonest} | ${wordFor(peersOf(cases[noise]!, reviews[noise] ?? [], liars))} |`
  })
  expect(lies.slice(0, 2).every((row) => row.endsWith('| passes | caught: makes its language worse |'))).toBe(true)
  await expect(page(rows, lies)).toMatchFileSnapshot('../../docs/QUALITY.md')
})

/** The rule without its numbers, which differ between processors. */
function wordFor(below: string | null): string {
  if (below === null) return 'passes'
  if (below.includes('times the median')) return 'caught: too long'
  if (below.includes('points against')) return 'caught: points against the others'
  if (below.includes('once more')) return 'caught: a copy'
  return below.includes('changes nothing') ? 'caught: changes nothing' : 'caught: makes its language worse'
}

function page(rows: readonly string[], lies: readonly string[]): string {
  return `# The quality floor

What a run's \`--quality-floor\` catches. Six honest nodes (Swahili three times, French, Vietnamese, English) train the smallest
model that is still a Llama, from a base that already knows a little; a seventh contribution is added to theirs, one kind at a
time. \`test/e2e/quality.test.ts\` trains them, writes this page, and fails when a verdict changes.

| the seventh contribution | \`norms\` | \`public\` | \`peers\` |
| --- | --- | --- | --- |
${rows.join('\n')}

With \`peers\` the three Swahili nodes are the reviewers of a contribution in Swahili. Those who lie say the opposite of what they
measured, three times over:

| reviewers who lie | the honest contribution | noise of the same norm |
| --- | --- | --- |
${lies.join('\n')}

With \`none\`, the default, everything passes that is well-formed, finite and within the run's \`--max-norm\`.

- \`norms\` reads the contributions alone. It asks for little, so that a node with a language of its own never fails for being
  different; what is as long as the others and points nowhere in particular passes, and is diluted by the weights of the rest.
- \`public\` also scores base plus the contribution alone on the operator's sets (\`--evaluation-data\`), in the languages that it
  names. A contribution in no language of the sets passes by its norms. What does no measurable harm to its own language passes,
  useless or not.
- \`peers\` scores base plus the contribution alone on the held-out text of nodes of other members, which contributed to the same round
  in a language that it names: up to three for each language, drawn when the round seals. In each language the middle voices
  count. Fewer than three voices about a language do not judge it, and a contribution in no language that is judged passes by its
  norms: the weight's reason says so. Reviewers who are silent do not stop the round beyond \`--evaluate-window\`.
- No floor sees a contribution made to look good on the sets, nor several that were made to agree: robust strategies
  (\`--strategy\`), caps (\`--cap\`) and the release gate stand behind the floor.

## What \`peers\` shows to whom

A delta says something about the text behind it. With every other floor it is seen by the coordinator alone; with \`peers\` **each
reviewer downloads the deltas that it scores**: nodes of other members, three for each language, while the round is \`reviewing\` and
until they have answered. Our node deletes what it has scored; another program could keep it. So a run has to ask for this floor, every
round says so before a node joins, and a node whose \`policy.yaml\` says \`peers: false\` stays out of such runs.

Two reviewers of three who agree to lie put an honest contribution out or let a harmful one pass, and members that hold a
third of a language's nodes will at times be two of the three. Which contributions a node reviews is fixed by the ids of all contributions
of the round: nobody can choose them but whoever hands in last, by trying nonces. The coordinator, which draws, could draw
unfairly; every review is kept with its signature.

A contribution below the floor gets the weight 0 and takes no part in the merge, whatever the strategy; the reason is stored,
shown by \`tapestry round inspect\` and released with the manifest. Where fewer remain than the quorum, or than the strategy is
defined for, the round fails, says which were below and why, and the base stands.
`
}
