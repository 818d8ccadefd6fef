import { readFile } from 'node:fs/promises'
import type { Digest } from '../../src/core/digest.ts'
import { WEIGHTS_FILE } from '../../src/model/weight-index.ts'
import type { CheckpointRow } from '../../src/store/checkpoint-row.ts'
import type { ContributionRow, RoundRow } from '../../src/store/records.ts'
import type { SimulatedFederation } from './federation.ts'
import { ledgerViolations } from './ledger.ts'
import { valuesOf } from './one-hot.ts'

/** Everything that does not hold of a federation whose run has ended, in sentences. */
export async function violations(federation: SimulatedFederation): Promise<string[]> {
  const { context, run } = federation
  const rounds = await context.store.reader.rounds({ run: run.id, limit: 1000 })
  const found = [...federation.surprises, ...federation.nodes.flatMap(({ surprises }) => surprises)]
  for (const round of rounds) found.push(...(await ofRound(federation, round)))
  found.push(...(await ledgerViolations(context, rounds)))
  return [...found, ...(await ofRun(federation, rounds)), ...(await ofJobs(federation))]
}

async function ofRound(federation: SimulatedFederation, { key, round }: RoundRow): Promise<string[]> {
  const { reader } = federation.context.store
  const rows = await reader.contributions(key)
  const say = (what: string) => `round ${key.number}: ${what}`
  const found = [...kept(federation, key.number, rows)]
  const roster = await reader.roster(key)
  const accepted = roster.filter(({ standing }) => standing === 'accepted').length
  const counted = 'accepted' in round ? round.accepted : 0
  if (rows.length !== accepted || rows.length !== counted) {
    found.push(`${rows.length} contributions, ${accepted} nodes accepted, ${counted} counted`)
  }
  if (round.phase === 'published') found.push(...(await merged(federation, rows, round.base, round.checkpoint)))
  return found.map(say)
}

/** Whatever a node was told is accepted is there. */
function kept(federation: SimulatedFederation, round: number, rows: readonly ContributionRow[]): string[] {
  return federation.nodes.flatMap(({ acknowledged, row }) => {
    const told = acknowledged.get(round)
    const found = rows.filter(({ node }) => node === row.id)
    if (found.length > 1) return [`${row.name} counts ${found.length} times`]
    return told !== undefined && found[0]?.id !== told
      ? [`${row.name} was told that ${told} is accepted: it is gone`]
      : []
  })
}

/** Each contribution shows in the model exactly once, by its weight; nothing else shows. */
async function merged(
  federation: SimulatedFederation,
  rows: readonly ContributionRow[],
  base: Digest,
  checkpoint: Digest,
): Promise<string[]> {
  const before = await weightsOf(federation, base)
  const after = await weightsOf(federation, checkpoint)
  const weights = new Map(rows.map(({ node, weight }) => [node, weight?.value ?? 0]))
  const total = [...weights.values()].reduce((sum, weight) => sum + weight, 0)
  const found = Math.abs(total - 1) < 1e-9 ? [] : [`the weights add up to ${total}`]
  const places = new Map(federation.nodes.map(({ row }, index) => [index + 1, weights.get(row.id) ?? 0]))
  for (const [place, value] of after.entries()) {
    const expected = Math.fround((before[place] ?? 0) + (places.get(place) ?? 0))
    if (value !== expected) found.push(`the model is ${value} at ${place}, not ${expected} (base ${before[place]})`)
  }
  return found
}

async function weightsOf({ context }: SimulatedFederation, digest: Digest): Promise<Float32Array> {
  const checkpoint = await context.store.reader.checkpoint(digest)
  const file = checkpoint?.files.find(({ path }) => path === WEIGHTS_FILE)
  if (file === undefined) throw new Error(`no weights of ${digest}`)
  return valuesOf(await readFile(await context.blobs.localPath(file.digest)))
}

/** One chain of checkpoints, each made by one published round, with the head at its end. */
async function ofRun({ context, run }: SimulatedFederation, rounds: readonly RoundRow[]): Promise<string[]> {
  const { reader } = context.store
  const chain = [...(await reader.checkpoints({ run: run.id, limit: 1000 }))].sort((a, b) => a.version - b.version)
  const published = rounds.filter(({ round }) => round.phase === 'published').length
  const found = chain.length === published + 1 ? [] : [`${published} rounds published, ${chain.length} checkpoints`]
  const broken = chain.some(
    ({ version, parent }, index) => version !== index || (parent ?? undefined) !== digestAt(chain, index - 1),
  )
  if (broken) found.push('the checkpoints are no chain')
  const head = (await reader.run(run.id))?.head
  if (head !== chain.at(-1)?.digest) found.push(`the head is ${head}, not the newest checkpoint`)
  if (rounds.length !== run.policy.rounds) found.push(`${rounds.length} rounds instead of ${run.policy.rounds}`)
  return found
}

function digestAt(chain: readonly CheckpointRow[], index: number): Digest | undefined {
  return chain[index]?.digest
}

async function ofJobs({ context }: SimulatedFederation): Promise<string[]> {
  const jobs = await context.store.reader.jobs({ limit: 1000 })
  return jobs
    .filter(({ state }) => state !== 'done' && state !== 'abandoned')
    .map(({ id, state }) => `${id} is ${state}`)
}
