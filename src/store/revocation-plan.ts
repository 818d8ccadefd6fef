import type { Digest } from '../core/digest.ts'
import type { RunId } from '../core/ids.ts'
import { isWeights } from '../model/weight-index.ts'
import { unheldBlobs } from '../policy/blob-holder.ts'
import {
  type Link,
  type MergeStep,
  type Part,
  planRevocation,
  type RevocationMode,
  type RevocationPlan,
  type RunHistory,
} from '../policy/revocation.ts'
import { neededOf } from '../round/quorum.ts'
import { turnOf } from '../round/round.ts'
import { LIVE_PHASES } from './advance.ts'
import type { LineRow } from './checkpoint-row.ts'
import { OPTIMIZER_FILE } from './publish.ts'
import type { Reader } from './reader.ts'
import type { ContributionRow, RoundRow, RunRow } from './records.ts'

/** A plan for one run. `live`: the round that the revocation ends, if there is one. */
export type PlannedFor = { readonly run: RunRow; readonly plan: RevocationPlan; readonly live: RoundRow | undefined }

/** Reads what a run's models owe to contributions, and plans what to do without them. @throws TapestryError DATA_INVALID */
export async function planFor(
  reader: Reader,
  run: RunRow,
  revoked: readonly ContributionRow[],
  mode: RevocationMode,
): Promise<PlannedFor> {
  const ids = revoked.map(({ id }) => id)
  const [live] = await reader.rounds({ run: run.id, phases: LIVE_PHASES, limit: 1 })
  const line = await reader.lineTo(run.head)
  const first = Math.min(...revoked.map(({ key }) => key.number))
  const history = await historyOf(reader, run, line, live, first)
  const { endsLive, ...planned } = planRevocation(history, new Set(ids), { mode, needed: neededOf(run.policy) })
  const firstBase = line.find(({ digest }) => digest === planned.base)?.version === 0
  const plan = { ...planned, contributions: ids, firstBase }
  const deletedBytes = await unheldBytes(reader, run.id, plan, revoked)
  return { run, plan: { ...plan, deletedBytes }, live: endsLive ? live : undefined }
}

/** No checkpoint holds a contribution before the round that it was handed in for: older ones are left out. */
async function historyOf(
  reader: Reader,
  run: RunRow,
  line: readonly LineRow[],
  live: RoundRow | undefined,
  first: number,
): Promise<RunHistory> {
  const links: Link[] = []
  for (const { digest, round, parent } of line.filter(({ round }) => round >= first).toReversed()) {
    if (parent !== null) links.push(await linkOf(reader, run.id, round, digest, parent))
  }
  const { head, roundsStarted } = run
  if (live === undefined) return { head, roundsStarted, line: links, live: null }
  const { number } = live.key
  if (live.round.revisionOf !== undefined) {
    links.push(await linkOf(reader, run.id, number, null, live.round.base))
    return { head, roundsStarted, line: links, live: null }
  }
  const contributions = (await reader.contributions(live.key)).map(({ id }) => id)
  return { head, roundsStarted, line: links, live: { round: number, turn: turnOf(number, live.round), contributions } }
}

async function linkOf(
  reader: Reader,
  run: RunId,
  round: number,
  checkpoint: Digest | null,
  base: Digest,
): Promise<Link> {
  const key = { run, number: round }
  const row = await reader.round(key)
  const isRevision = row?.round.revisionOf !== undefined
  const parts = isRevision ? await reader.remerged(key) : await reader.contributions(key)
  const rounds = [...new Set(parts.map(({ key }) => key.number))]
  const steps = rounds.map(async (number): Promise<MergeStep> => {
    const of = await reader.round({ run, number })
    const own = parts.filter((part) => part.key.number === number && part.revocation === undefined)
    return { round: number, turn: of ? turnOf(number, of.round) : number, parts: own.map(partOf) }
  })
  return { checkpoint, base, round, steps: await Promise.all(steps) }
}

function partOf({ id, weight, norm, bytes, languages }: ContributionRow): Part {
  const tokens = languages.reduce((sum, language) => sum + language.tokens, 0)
  return { id, weight: weight?.value ?? null, norm, bytes, tokens }
}

/** What would be deleted by the same rule that deletes. */
async function unheldBytes(
  reader: Reader,
  run: RunId,
  plan: Pick<RevocationPlan, 'rounds' | 'superseded' | 'contributions'>,
  revoked: readonly ContributionRow[],
): Promise<number> {
  const sizes = new Map([...(await tensorFiles(reader, plan.superseded)), ...payloads(revoked)])
  const rounds = plan.rounds.map((number) => `${run}/${number}`)
  const takenBack = new Set<string>([...plan.superseded, ...plan.contributions, ...rounds])
  const unheld = unheldBlobs([...sizes.keys()], await reader.blobHolders([...sizes.keys()]), takenBack)
  return unheld.reduce((sum, digest) => sum + (sizes.get(digest) ?? 0), 0)
}

/** Digest and size of what of checkpoints is not shared by all: weights and what optimizers remember. */
export async function tensorFiles(reader: Reader, checkpoints: readonly Digest[]): Promise<[Digest, number][]> {
  const rows = await Promise.all(checkpoints.map((digest) => reader.checkpoint(digest)))
  const files = rows.flatMap((row) => row?.files ?? [])
  return files
    .filter(({ path }) => isWeights(path) || path === OPTIMIZER_FILE)
    .map(({ digest, size }) => [digest, size])
}

function payloads(contributions: readonly ContributionRow[]): [Digest, number][] {
  return contributions.map(({ payload, bytes }) => [payload, bytes])
}
