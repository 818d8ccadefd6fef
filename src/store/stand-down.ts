import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { NodeId, RoundKey } from '../core/ids.ts'
import { hasEnded } from '../round/round.ts'
import { advanceRound, LIVE_PHASES, requireRound } from './advance.ts'
import type { RoundRow } from './records.ts'
import type { Tx } from './store.ts'

/**
 * Ends a node's part in a round, so that nobody waits for it. A contribution that was accepted stays. A node that is not on
 * the roster, or has declined before, changes nothing.
 * @throws TapestryError NOT_FOUND for an unknown round.
 */
export async function declineRound(tx: Tx, key: RoundKey, node: NodeId, now: Millis): Promise<RoundRow> {
  const row = await requireRound(tx, key)
  const entry = await tx.rosterEntry(key, node)
  if (entry === undefined || entry.declined || hasEnded(row.round)) return row
  // An open roster is not frozen: whoever comes back in time may join again.
  if (row.round.phase === 'open') await tx.removeFromRoster(key, node)
  else await tx.setDeclined(key, node)
  const from = { from: entry.standing, evaluated: entry.evaluated }
  const declined = await advanceRound(tx, key, { type: 'member-declined', ...from }, now)
  return row.round.phase === 'reviewing' ? withoutReviewer(tx, key, node, now) : declined
}

/** What a node was still asked to review is not waited for. */
async function withoutReviewer(tx: Tx, key: RoundKey, node: NodeId, now: Millis): Promise<RoundRow> {
  await tx.withdrawReviews(key, node)
  const reviews = await tx.reviews(key)
  const reviewed = reviews.filter(({ languages }) => languages !== null).length
  return advanceRound(tx, key, { type: 'reviews-recounted', reviews: reviews.length, reviewed }, now)
}

/** Ends a node's part in every live round. */
export async function standDown(tx: Tx, node: NodeId, now: Millis): Promise<void> {
  for (const key of await tx.roundsWith(node, LIVE_PHASES)) await declineRound(tx, key, node, now)
}

/**
 * The same, and what the node contributed does not count: it is taken out before the merge; a candidate that already
 * holds it fails with its round, and the base stands.
 * @returns the contributions that no longer count.
 */
export async function dropOut(tx: Tx, node: NodeId, now: Millis): Promise<readonly Digest[]> {
  const dropped: Digest[] = []
  for (const key of await tx.roundsWith(node, LIVE_PHASES)) {
    const contribution = (await tx.contributions(key)).find((one) => one.node === node)
    if (contribution === undefined) {
      await declineRound(tx, key, node, now)
      continue
    }
    dropped.push(contribution.id)
    await dropContribution(tx, key, node, now)
  }
  return dropped
}

async function dropContribution(tx: Tx, key: RoundKey, node: NodeId, now: Millis): Promise<void> {
  const { round } = await requireRound(tx, key)
  const detail = `${node} was ejected`
  if (round.phase !== 'evaluating') {
    await tx.removeContribution(key, node)
    await tx.setStanding(key, [node], 'refused')
    await tx.createRejection({ key, node, kind: 'contribution', reason: 'EJECTED', detail, at: now })
  }
  await tx.setDeclined(key, node)
  const reason = `${detail}: its contribution does not count`
  await advanceRound(tx, key, { type: 'contribution-dropped', reason }, now)
  if (round.phase === 'reviewing') await withoutReviewer(tx, key, node, now)
}
