import type { Context } from '../context.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { accept, type RejectionReason, reject, type Verdict } from '../core/rejection.ts'
import { DOMAINS, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import type { SubmitContributionRequest } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import { type ContributionManifest, parseContributionManifest } from '../model/contribution-manifest.ts'
import { judgeDelta } from '../model/judge.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { parsePlan } from '../plan/plan.ts'
import { advanceRound } from '../store/advance.ts'
import { summaryOf } from '../store/inspections.ts'
import { requireNode } from '../store/membership.ts'
import type { PublicLog } from '../store/public-log.ts'
import type { Reader } from '../store/reader.ts'
import type { ContributionRow, NodeRow, RoundRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { admitContribution } from './admission.ts'
import type { NodePrincipal } from './auth.ts'
import { receiptMessage } from './get-receipt.ts'
import { signatureOf } from './message.ts'
import { keyOf, recordRefusal } from './submission.ts'

/** A submission whose signature holds. */
type Signed = {
  readonly id: Digest
  readonly manifest: ContributionManifest
  /** The manifest exactly as it was signed. */
  readonly text: string
  readonly signature: Signature
}

/**
 * Confirms an uploaded delta: signature, place in the round, then what its bytes were found to hold while they arrived.
 * The answer to an accepted one carries the proof that the log records it. A refusal is an answer, stored and counted,
 * and the round goes on.
 */
export async function submitContribution(
  context: Context,
  log: PublicLog,
  request: SubmitContributionRequest,
  { node }: NodePrincipal,
) {
  const id = digestOf(request.manifest)
  const verdict = await judge(context, request, node, id)
  if (verdict.ok) {
    const receipt = await log.receipt(id)
    return { contribution: id, ...(receipt && { receipt: receiptMessage(receipt) }) }
  }
  await recordRefusal(context, 'contribution', request.manifest, node.id, verdict.rejection)
  return { contribution: id, rejection: verdict.rejection }
}

async function judge(
  context: Context,
  request: SubmitContributionRequest,
  node: NodeRow,
  id: Digest,
): Promise<Verdict<Digest>> {
  const signed = authenticate(context, request, node, id)
  if (!signed.ok) return signed
  const place = await placeOf(context.store.reader, signed.value, node)
  if (!place.ok || place.value === 'stored') return place.ok ? accept(id) : place
  const admitted = await admitContribution(
    context.store.reader,
    signed.value.manifest,
    node,
    place.value.round,
    context.clock.now(),
  )
  if (!admitted.ok) return admitted
  const payload = await inspectPayload(context, signed.value.manifest, place.value)
  if (!payload.ok) return payload
  return context.store.transact('submit-contribution', (tx) =>
    store(context, tx, signed.value, node, payload.value.norm),
  )
}

function authenticate(
  context: Context,
  request: SubmitContributionRequest,
  node: NodeRow,
  id: Digest,
): Verdict<Signed> {
  const signature = signatureOf(request.signature)
  const parsed = parseContributionManifest(request.manifest)
  if (!parsed.ok) return parsed
  const manifest = parsed.value
  if (manifest.node !== node.id) return reject('BAD_SIGNATURE', `the manifest names ${manifest.node}, not the caller`)
  if (!verifyMessage(publicKeyFromPem(node.publicKey), DOMAINS.contribution, request.manifest, signature)) {
    return reject('BAD_SIGNATURE', 'the signature does not verify under the key that the node enrolled with')
  }
  if (manifest.federation !== context.federation) {
    return reject('WRONG_ROUND', `the manifest was signed for federation ${manifest.federation}`)
  }
  return accept({ id, manifest, text: Buffer.from(request.manifest).toString('utf8'), signature })
}

/** The round that the contribution belongs to, or `stored` when it is already part of it. */
async function placeOf(reader: Reader, { id, manifest }: Signed, node: NodeRow): Promise<Verdict<RoundRow | 'stored'>> {
  const key = keyOf(manifest)
  const row = await reader.round(key)
  if (row === undefined) return reject('WRONG_ROUND', `there is no round ${key.number} in run ${key.run}`)
  const stored = await reader.contributionOf(key, node.id)
  if (stored?.id === id) return accept('stored')
  if (stored !== undefined) return reject('DUPLICATE', 'this round already has a contribution from this node')
  if (row.round.phase !== 'collecting') return reject('ROUND_CLOSED', `round ${key.number} is ${row.round.phase}`)
  const entry = await reader.rosterEntry(key, node.id)
  if (entry === undefined) return reject('NOT_IN_ROSTER', `round ${key.number} froze its roster without this node`)
  if (entry.declined) return reject('NOT_IN_ROSTER', `this node has declined round ${key.number}`)
  if (manifest.baseDigest !== row.round.base)
    return reject(await wrongBase(reader, manifest), `round ${key.number} starts from ${row.round.base}`)
  return accept(row)
}

async function wrongBase(reader: Reader, manifest: ContributionManifest): Promise<RejectionReason> {
  return (await reader.checkpoint(manifest.baseDigest)) === undefined ? 'UNKNOWN_BASE' : 'STALE_BASE'
}

async function inspectPayload(
  context: Context,
  manifest: ContributionManifest,
  row: RoundRow,
): Promise<Verdict<{ readonly norm: number }>> {
  const blob = await context.blobs.renew(manifest.payloadDigest)
  if (blob === undefined) {
    const arrived = await context.blobs.partial(manifest.payloadDigest)
    return reject('TRUNCATED', `${arrived} of ${manifest.payloadBytes} payload bytes have arrived`)
  }
  if (blob.size !== manifest.payloadBytes) {
    return reject('DIGEST_MISMATCH', `the payload has ${blob.size} bytes, the manifest says ${manifest.payloadBytes}`)
  }
  const run = await context.store.reader.run(row.key.run)
  if (run === undefined) return reject('WRONG_ROUND', `there is no run ${row.key.run}`)
  const expected = parameterSpecs(parsePlan(Buffer.from(run.plan, 'utf8')).spec)
  const summary = await summaryOf(context, manifest.payloadDigest)
  const { codec, maxNorm } = row.round.policy
  const verdict = judgeDelta(summary, expected, codec, { maxNorm })
  // All announced bytes are here, so a file that ends too early was made that way: sending it again mends nothing.
  if (!verdict.ok && verdict.rejection.reason === 'TRUNCATED') return reject('MALFORMED', verdict.rejection.detail)
  return verdict
}

/** Everything may have moved while the payload was judged, so the place is judged again inside the transaction. */
async function store(context: Context, tx: Tx, signed: Signed, node: NodeRow, norm: number): Promise<Verdict<Digest>> {
  // The key may have been retired, or the node barred, while the payload was judged.
  const present = await requireNode(tx, node.id)
  if (present.publicKey !== node.publicKey) return reject('BAD_SIGNATURE', 'the node has changed its keys meanwhile')
  if (present.status !== 'active') return reject('NOT_IN_ROSTER', `this node is ${present.status}`)
  const place = await placeOf(tx, signed, node)
  if (!place.ok || place.value === 'stored') return place.ok ? accept(signed.id) : place
  if (await tx.contributionByNonce(node.id, signed.manifest.nonce)) {
    return reject('REPLAYED', 'this nonce has been used before')
  }
  // Digests are no secret: without this a node could have another's work counted as its own.
  if ((await tx.payloadOwners(signed.manifest.payloadDigest)).some((owner) => owner !== node.id)) {
    return reject('REPLAYED', 'this payload is the contribution of another node')
  }
  if (await tx.isRevoked(signed.manifest.payloadDigest)) {
    return reject('REPLAYED', 'this payload was revoked: what is taken back is not handed in again')
  }
  const { key, round } = place.value
  const now = context.clock.now()
  const admitted = await admitContribution(tx, signed.manifest, node, round, now)
  if (!admitted.ok) return admitted
  const entry = await tx.rosterEntry(key, node.id)
  await tx.createContribution(contributionRow(signed, node, norm, now))
  await tx.appendToLedger(contributionEvent(signed), now)
  await tx.setStanding(key, node.id, 'accepted')
  await advanceRound(tx, key, { type: 'contribution-accepted', from: entry?.standing ?? 'joined' }, now)
  return accept(signed.id)
}

function contributionEvent({ id, manifest }: Signed): LedgerEvent {
  const { node, run, round, baseDigest, payloadDigest, payloadBytes } = manifest
  const what = { base: baseDigest, payload: payloadDigest, bytes: payloadBytes }
  return { type: 'contribution', contribution: id, node, run, round, ...what }
}

function contributionRow(
  { id, manifest, text, signature }: Signed,
  node: NodeRow,
  norm: number,
  now: number,
): ContributionRow {
  return {
    id,
    key: keyOf(manifest),
    node: node.id,
    manifest: text,
    signature,
    nonce: manifest.nonce,
    payload: manifest.payloadDigest,
    bytes: manifest.payloadBytes,
    norm,
    weight: null,
    languages: manifest.languages,
    records: (manifest.records ?? []).flatMap(({ digest, languages }) =>
      languages.map((used) => ({ record: digest, ...used })),
    ),
    acceptedAt: now,
  }
}
