import { z } from 'zod'
import type { Context } from '../context.ts'
import { ensureRunId, type FederationId, type NodeId, type RoundKey, type RunId } from '../core/ids.ts'
import { type Rejection, type RejectionReason, reject, type Verdict } from '../core/rejection.ts'
import { type Domain, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { advanceRound } from '../store/advance.ts'
import type { NodeRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'

export function keyOf(place: { readonly run: RunId; readonly round: number }): RoundKey {
  return { run: place.run, number: place.round }
}

/** Whether a report is the calling node's own and for this federation. */
export function authenticateReport<T extends { readonly node: NodeId; readonly federation: FederationId }>(
  context: Context,
  parsed: Verdict<T>,
  signed: { readonly bytes: Uint8Array; readonly signature: Signature; readonly domain: Domain },
  caller: NodeRow,
): Verdict<T> {
  if (!parsed.ok) return parsed
  const { node, federation } = parsed.value
  if (node !== caller.id) return reject('BAD_SIGNATURE', `the report names ${node}, not the caller`)
  if (!verifyMessage(publicKeyFromPem(caller.publicKey), signed.domain, signed.bytes, signed.signature)) {
    return reject('BAD_SIGNATURE', 'the signature does not verify under the key that the node enrolled with')
  }
  if (federation !== context.federation) {
    return reject('WRONG_ROUND', `the report was signed for federation ${federation}`)
  }
  return parsed
}

/**
 * Refusals that say nothing about the delta itself: the same node may still send a good one, so
 * they do not count as its answer to the round.
 */
const NOT_AN_ANSWER: ReadonlySet<RejectionReason> = new Set([
  'TRUNCATED',
  'WRONG_ROUND',
  'ROUND_CLOSED',
  'NOT_IN_ROSTER',
  'DUPLICATE',
  'REPLAYED',
])

/** Stores and counts a refusal; one that judges a roster member's delta is also its answer to the round for now. */
export async function recordRefusal(
  context: Context,
  kind: 'contribution' | 'evaluation' | 'review',
  document: Uint8Array,
  node: NodeId,
  { reason, detail }: Rejection,
): Promise<void> {
  context.log.info({ node, kind, reason, detail }, 'submission refused')
  const claimed = claimedKey(document)
  await context.store.transact(`refuse-${kind}`, async (tx) => {
    const row = claimed && (await tx.round(claimed))
    const now = context.clock.now()
    await tx.createRejection({ key: row?.key ?? null, node, kind, reason, detail, at: now })
    if (row && kind === 'contribution' && !NOT_AN_ANSWER.has(reason)) await countRefusal(tx, row.key, node, now)
  })
}

async function countRefusal(tx: Tx, key: RoundKey, node: NodeId, now: number): Promise<void> {
  const entry = await tx.rosterEntry(key, node)
  if (entry?.standing !== 'joined') return
  await tx.setStanding(key, [node], 'refused')
  await advanceRound(tx, key, { type: 'contribution-refused', from: 'joined' }, now)
}

const CLAIM = z.object({
  run: z.string().transform((run) => ensureRunId(run)),
  round: z.int().min(1).max(0x7fffffff),
})

/** The round that a document names, also where the rest of it is unreadable; undefined when it names none. */
function claimedKey(document: Uint8Array): RoundKey | undefined {
  try {
    return keyOf(CLAIM.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(document))))
  } catch {
    return undefined
  }
}
