import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { RoundKey, RunId } from '../core/ids.ts'
import { type RevocationOutcome, stepRevocation } from '../round/revocation.ts'
import { hasEnded, openRound, type Phase, type Round } from '../round/round.ts'
import { type RoundEvent, type Step, step, type Work } from '../round/step.ts'
import type { RoundRow, RunRow } from './records.ts'
import { assignReviews } from './review-assignment.ts'
import type { Tx } from './store.ts'

/** Phases of rounds that have not ended. */
export const LIVE_PHASES: readonly Phase[] = ['open', 'collecting', 'reviewing', 'sealed', 'aggregating', 'evaluating']

/**
 * Applies an event to a round inside the caller's transaction: the only way in which rounds move.
 * When the event ends the round and the run goes on by itself, the next round opens in the same
 * transaction, so that a crash can never leave a continuous run standing still.
 * A checkpoint that the event announces must have become the run's head before: the next round starts from the head.
 * @returns the round as it now stands; unchanged when the event means nothing in its phase.
 * @throws TapestryError NOT_FOUND for an unknown round.
 */
export async function advanceRound(tx: Tx, key: RoundKey, event: RoundEvent, now: Millis): Promise<RoundRow> {
  return advanceRow(tx, await requireRound(tx, key), [event], now)
}

/** As {@link advanceRound}, by several events one after another, from a row that this transaction has read; written once. */
export async function advanceRow(tx: Tx, row: RoundRow, events: readonly RoundEvent[], now: Millis): Promise<RoundRow> {
  let [round, changed] = [row.round, false]
  const work: Work[] = []
  for (const event of events) {
    const stepped = await stepWithReviews(tx, { ...row, round }, event, now)
    round = stepped.round
    changed ||= stepped.changed
    work.push(...stepped.work)
  }
  if (!changed) return row
  await tx.saveRound(row, round, work, now)
  if (hasEnded(round) && !hasEnded(row.round)) {
    if (round.revisionOf !== undefined) await endRevision(tx, row.key.run, round.revisionOf, outcomeOf(round), now)
    await goOn(tx, row.key.run, now)
  }
  return { ...row, round, version: row.version + 1, updatedAt: now }
}

/** @throws TapestryError NOT_FOUND */
export async function requireRound(tx: Tx, key: RoundKey): Promise<RoundRow> {
  const row = await tx.round(key)
  if (row === undefined) throw new TapestryError('NOT_FOUND', `there is no round ${key.number} in run ${key.run}`)
  return row
}

/** The reviewers are those who have contributed when the round seals: they are named in the same transaction. */
async function stepWithReviews(tx: Tx, row: RoundRow, event: RoundEvent, now: Millis): Promise<Step> {
  const stepped = step(row.round, event, now)
  if (stepped.round.phase !== 'reviewing' || row.round.phase === 'reviewing') return stepped
  const reviews = await assignReviews(tx, row.key)
  const assigned = step(stepped.round, { type: 'reviewers-assigned', reviews }, now)
  return { ...assigned, changed: true }
}

/**
 * Opens the next round of a run from the run's head.
 * @throws TapestryError NOT_FOUND for an unknown run; FAILED_PRECONDITION while a round of the run is
 * live, when its rounds are used up, or when somebody else opened the round first.
 */
export async function openNextRound(tx: Tx, id: RunId, now: Millis): Promise<RoundRow> {
  const run = await requireRun(tx, id)
  if (isUsedUp(run)) {
    throw new TapestryError('FAILED_PRECONDITION', `run ${id} has had all of its ${run.policy.rounds} rounds`)
  }
  await requireNoLiveRound(tx, id)
  if (!(await tx.advanceRun(id, run.roundsStarted))) {
    throw new TapestryError('FAILED_PRECONDITION', `the next round of run ${id} has just been opened`)
  }
  const key: RoundKey = { run: id, number: nextNumber(run) }
  const round = openRound(run.head, run.planDigest, run.policy, now, run.uncounted)
  await tx.createRound(key, round, now)
  return (await tx.round(key)) ?? missing(key)
}

/**
 * Ends the live round of a run whose head has just been moved by something else than that round: what its nodes
 * make from the old base has no place any more. A continuous run opens the next one from the new head.
 */
export async function endLiveRound(tx: Tx, run: RunId, reason: string, now: Millis): Promise<void> {
  const [live] = await tx.rounds({ run, phases: LIVE_PHASES, limit: 1 })
  if (live !== undefined) await advanceRound(tx, live.key, { type: 'base-replaced', reason }, now)
}

/** Numbers never come back, turns do: a repeated round gets the next number. */
export function nextNumber({ roundsStarted, uncounted }: Pick<RunRow, 'roundsStarted' | 'uncounted'>): number {
  return roundsStarted + uncounted + 1
}

/** Tells a revocation that its revision has ended; its remaining work is asked for. */
export async function endRevision(
  tx: Tx,
  run: RunId,
  number: number,
  outcome: RevocationOutcome,
  now: Millis,
): Promise<void> {
  const key = { run, number }
  const row = await tx.revocation(key)
  if (row === undefined) throw new TapestryError('NOT_FOUND', `there is no revocation ${number} of run ${run}`)
  const state = stepRevocation(row.state, { type: 'revision-ended', outcome })
  await tx.saveRevocation({ ...row, state, updatedAt: now })
  await tx.askForRevocation(key, now)
}

function outcomeOf(round: Round): RevocationOutcome {
  if (round.phase === 'published') return { kind: 'reissued', checkpoint: round.checkpoint }
  const why = 'reason' in round ? round.reason : round.phase
  return { kind: 'returned', because: `what remains was not released: ${why}` }
}

/** Opens the next round of a continuous run that has rounds left. */
export async function goOn(tx: Tx, id: RunId, now: Millis): Promise<void> {
  const run = await requireRun(tx, id)
  if (run.policy.continuous && !isUsedUp(run)) await openNextRound(tx, id, now)
}

function isUsedUp(run: RunRow): boolean {
  return run.roundsStarted >= run.policy.rounds
}

async function requireRun(tx: Tx, id: RunId): Promise<RunRow> {
  const run = await tx.run(id)
  if (run === undefined) throw new TapestryError('NOT_FOUND', `there is no run ${id}`)
  return run
}

async function requireNoLiveRound(tx: Tx, id: RunId): Promise<void> {
  const [live] = await tx.rounds({ run: id, phases: LIVE_PHASES, limit: 1 })
  if (live === undefined) return
  throw new TapestryError(
    'FAILED_PRECONDITION',
    `round ${live.key.number} of run ${id} is ${live.round.phase}: it must end before the next opens`,
  )
}

function missing(key: RoundKey): never {
  throw new TapestryError('INTERNAL', `round ${key.number} of run ${key.run} vanished while it was opened`)
}
