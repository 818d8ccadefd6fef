import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId, RecordId, RoundKey } from '../core/ids.ts'
import { type LedgerEvent, partsOf } from '../ledger/entry.ts'
import type { RevocationMode, RevocationPlan } from '../policy/revocation.ts'
import { openRevocation, type RevocationOutcome } from '../round/revocation.ts'
import { openRevision } from '../round/round.ts'
import { step } from '../round/step.ts'
import { endRevision, goOn, nextNumber } from './advance.ts'
import type { RevocationRow } from './checkpoint-row.ts'
import type { Reader } from './reader.ts'
import type { ContributionRow, RunRow } from './records.ts'
import { type PlannedFor, planFor } from './revocation-plan.ts'
import type { Tx } from './store.ts'

/** Whose contributions: one, those trained on a dataset of a node, or all of a node's. */
export type RevocationSubject =
  | { readonly kind: 'contribution'; readonly id: Digest }
  | { readonly kind: 'dataset'; readonly node: NodeId; readonly id: RecordId }
  | { readonly kind: 'node'; readonly node: NodeId }

export type RevocationRequest = {
  readonly subject: RevocationSubject
  readonly mode: RevocationMode
  readonly requestedBy: NodeId | 'operator'
  /** Shown to operators and to the node; not part of the log. */
  readonly reason: string
}

/**
 * What a request would do, run by run; nothing for a dataset or node without contributions that still stand.
 * @throws TapestryError NOT_FOUND for an unknown contribution; ALREADY_EXISTS for one that is revoked already.
 */
export async function planRevocations(
  reader: Reader,
  { subject, mode }: Pick<RevocationRequest, 'subject' | 'mode'>,
): Promise<readonly PlannedFor[]> {
  const standing = await standingContributions(reader, subject)
  const runs = [...new Set(standing.map(({ key }) => key.run))].sort()
  const planned: PlannedFor[] = []
  for (const id of runs) {
    const run = await reader.run(id)
    if (run === undefined) throw new TapestryError('INTERNAL', `contributions to a run ${id} that does not exist`)
    const revoked = standing.filter(({ key }) => key.run === id)
    planned.push(await planFor(reader, run, revoked, mode))
  }
  return planned
}

/**
 * Takes contributions back, in the caller's transaction: from its commit on no round starts from a touched
 * checkpoint, no channel points to one, and the log says so. What is left (the notice, merging again, deleting) is
 * done by workers.
 * @returns one revocation a run, as {@link planRevocations} orders them.
 * @throws as {@link planRevocations}
 */
export async function requestRevocation(
  tx: Tx,
  request: RevocationRequest,
  now: Millis,
): Promise<readonly RevocationRow[]> {
  const begun: RevocationRow[] = []
  for (const planned of await planRevocations(tx, request)) begun.push(await revokeInRun(tx, planned, request, now))
  return begun
}

async function standingContributions(reader: Reader, subject: RevocationSubject): Promise<readonly ContributionRow[]> {
  if (subject.kind === 'contribution') {
    const row = await reader.contribution(subject.id)
    if (row === undefined) throw new TapestryError('NOT_FOUND', `there is no contribution ${subject.id}`)
    if (row.revocation === undefined) return [row]
    const detail = `${subject.id} was revoked before, by revocation ${row.revocation} of run ${row.key.run}`
    throw new TapestryError('ALREADY_EXISTS', detail)
  }
  const rows = await reader.contributionsOf(subject.node, subject.kind === 'dataset' ? subject.id : undefined)
  return rows.filter(({ revocation }) => revocation === undefined)
}

async function revokeInRun(
  tx: Tx,
  planned: PlannedFor,
  { mode, requestedBy, reason }: RevocationRequest,
  now: Millis,
): Promise<RevocationRow> {
  const { run } = planned
  const [newest] = await tx.revocations({ run: run.id, limit: 1 })
  const key: RoundKey = { run: run.id, number: (newest?.key.number ?? 0) + 1 }
  const plan = await endLive(tx, planned, key, now)
  await tx.takeBack(key, plan)
  const revision = await placeRun(tx, run, plan, key, now)
  const state = openRevocation(revision === undefined ? { outcome: outcomeWithout(plan) } : { revision })
  const row = { key, mode, requestedBy, reason, plan, state, notice: null, createdAt: now, updatedAt: now }
  await tx.createRevocation(row)
  for (const event of eventsOf(row)) await tx.appendToLedger(event, now)
  await tx.askForRevocation(key, now)
  if (revision === undefined && plan.repeated > 0) await goOn(tx, run.id, now)
  return row
}

/** Ends what is live on a touched base. A revision that was on its way leaves its task to this revocation. */
async function endLive(tx: Tx, { live, plan }: PlannedFor, key: RoundKey, now: Millis): Promise<RevocationPlan> {
  if (live === undefined) return plan
  const ended = step(live.round, { type: 'base-replaced', reason: `revocation ${key.number} took it back` }, now)
  await tx.saveRound(live, ended.round, ended.work, now)
  const { revisionOf } = live.round
  if (revisionOf === undefined) return plan
  const overtaken = await tx.revocation({ run: key.run, number: revisionOf })
  await endRevision(tx, key.run, revisionOf, { kind: 'overtaken', by: key.number }, now)
  return { ...plan, superseded: [...(overtaken?.plan.superseded ?? []), ...plan.superseded] }
}

/** Puts the run, and a channel that followed it, back to the clean base, and opens the revision where there is one. */
async function placeRun(
  tx: Tx,
  run: RunRow,
  plan: RevocationPlan,
  revocation: RoundKey,
  now: Millis,
): Promise<number | undefined> {
  const counted = { roundsStarted: run.roundsStarted - plan.repeated, uncounted: run.uncounted + plan.repeated }
  const remerges = plan.steps.length > 0
  await tx.returnRun(run.id, { ...counted, head: plan.base, uncounted: counted.uncounted + (remerges ? 1 : 0) })
  const channel = await tx.channel(run.channel)
  if (channel && plan.superseded.includes(channel.checkpoint)) await tx.moveChannel(run.channel, plan.base, now)
  if (!remerges) return undefined
  const revision = { run: run.id, number: nextNumber(counted) }
  await openRevisionRound(tx, run, plan, { revision, uncounted: counted.uncounted, of: revocation.number }, now)
  return revision.number
}

type Revision = { readonly revision: RoundKey; readonly uncounted: number; readonly of: number }

/** Those whose contributions are merged again judge the result, as far as they still belong to the federation. */
async function openRevisionRound(
  tx: Tx,
  run: RunRow,
  { base, steps }: RevocationPlan,
  { revision, uncounted, of }: Revision,
  now: Millis,
): Promise<void> {
  const ids = steps.flatMap(({ contributions }) => contributions)
  const judges = new Set<NodeId>()
  for (const id of ids) {
    const node = (await tx.contribution(id))?.node
    if (node !== undefined && (await tx.node(node))?.status === 'active') judges.add(node)
  }
  const always = { base, plan: run.planDigest, policy: run.policy, uncounted, revisionOf: of }
  await tx.createRound(revision, openRevision(always, judges.size), now, ['aggregate'])
  await tx.addToRoster(revision, [...judges], now)
  await tx.setStanding(revision, [...judges], 'accepted')
  await tx.createRemerge(revision, ids)
}

function outcomeWithout({ superseded, rounds, repeated, firstBase }: RevocationPlan): RevocationOutcome {
  if (superseded.length === 0 && rounds.length === 0) return { kind: 'untouched' }
  const where = firstBase ? 'to the checkpoint that it began with' : 'to the last clean checkpoint'
  const then = repeated > 0 ? `, ${repeated} round${repeated === 1 ? ' is' : 's are'} run again` : ''
  return { kind: 'returned', because: `the run went back ${where}${then}` }
}

function eventsOf({ key, mode, requestedBy, plan }: RevocationRow): LedgerEvent[] {
  const what = { run: key.run, revocation: key.number } as const
  const node = requestedBy === 'operator' ? null : requestedBy
  const requested = partsOf(plan.contributions).map(
    ({ part, items }): LedgerEvent => ({
      type: 'revocation-requested',
      ...what,
      mode,
      node,
      part,
      contributions: items,
    }),
  )
  if (plan.superseded.length === 0) return requested
  const superseded = partsOf(plan.superseded).map(
    ({ part, items }): LedgerEvent => ({ type: 'superseded', ...what, base: plan.base, part, checkpoints: items }),
  )
  return [...requested, ...superseded]
}
