import type { Context } from '../context.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { DOMAINS, publicKeyFromPem, verifyMessage } from '../core/signature.ts'
import type { SubmitContributionRequest } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { type ContributionManifest, parseContributionManifest } from '../model/contribution-manifest.ts'
import { judgeDelta } from '../model/judge.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import { parsePlan } from '../plan/plan.ts'
import { summaryOf } from '../store/inspections.ts'
import type { PublicLog } from '../store/public-log.ts'
import type { Reader } from '../store/reader.ts'
import type { NodeRow, RoundRow } from '../store/records.ts'
import { acceptContribution } from './accept-contribution.ts'
import { admitContribution } from './admission.ts'
import type { NodePrincipal } from './auth.ts'
import { judgePlace, type SignedContribution } from './contribution-place.ts'
import { receiptMessage } from './get-receipt.ts'
import { signatureOf } from './message.ts'
import { keyOf, recordRefusal } from './submission.ts'

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
  const { norm } = payload.value
  return acceptContribution(context.store, { signed: signed.value, node, norm, now: context.clock.now() })
}

function authenticate(
  context: Context,
  request: SubmitContributionRequest,
  node: NodeRow,
  id: Digest,
): Verdict<SignedContribution> {
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

async function placeOf(
  reader: Reader,
  signed: SignedContribution,
  node: NodeRow,
): Promise<Verdict<RoundRow | 'stored'>> {
  const key = keyOf(signed.manifest)
  const [row, stored, entry] = await Promise.all([
    reader.round(key),
    reader.contributionOf(key, node.id),
    reader.rosterEntry(key, node.id),
  ])
  return judgePlace(reader, signed, { row, stored: stored?.id, entry })
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
