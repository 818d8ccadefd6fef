import type { Context } from '../context.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { DOMAINS, type Signature } from '../core/signature.ts'
import type { SubmitReviewRequest } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { parseReviewReport, type ReviewReport } from '../model/review-report.ts'
import { advanceRound } from '../store/advance.ts'
import type { Tx } from '../store/store.ts'
import type { NodePrincipal } from './auth.ts'
import { signatureOf } from './message.ts'
import { authenticateReport, keyOf, recordRefusal } from './submission.ts'

/** Stores a reviewer's signed scores of the base with one contribution on its own held-out text. */
export async function submitReview(context: Context, request: SubmitReviewRequest, { node }: NodePrincipal) {
  const signature = signatureOf(request.signature)
  const signed = { bytes: request.report, signature, domain: DOMAINS.review }
  const report = authenticateReport(context, parseReviewReport(request.report), signed, node)
  const verdict = report.ok
    ? await context.store.transact('submit-review', (tx) => store(context, tx, report.value, request, signature))
    : report
  if (verdict.ok) return {}
  await recordRefusal(context, 'review', request.report, node.id, verdict.rejection)
  return { rejection: verdict.rejection }
}

async function store(
  context: Context,
  tx: Tx,
  report: ReviewReport,
  request: SubmitReviewRequest,
  signature: Signature,
): Promise<Verdict<null>> {
  const key = keyOf(report)
  const { node: reviewer, contribution, languages } = report
  const row = await tx.round(key)
  if (row === undefined) return reject('WRONG_ROUND', `there is no round ${key.number} in run ${key.run}`)
  const asked = (await tx.reviewsAsked(key, reviewer)).find((one) => one.contribution === contribution)
  if (asked === undefined) return reject('NOT_IN_ROSTER', `this node was not asked to score ${contribution}`)
  // An answer that is already stored was answered before: the answer was lost, not the report.
  if (asked.answered) return accept(null)
  if (row.round.phase !== 'reviewing') return reject('ROUND_CLOSED', `round ${key.number} is ${row.round.phase}`)
  if (report.baseDigest !== row.round.base) {
    return reject('STALE_BASE', `round ${key.number} starts from ${row.round.base}`)
  }
  const shared = new Set(asked.languages.map((tag) => tag.toLowerCase()))
  const foreign = languages.find(({ language }) => !shared.has(language.toLowerCase()))
  if (foreign !== undefined) return reject('INVALID_REPORT', `the node was not asked about ${foreign.language}`)
  const at = context.clock.now()
  const text = Buffer.from(request.report).toString('utf8')
  await tx.answerReview({ contribution, reviewer, languages, report: text, signature, at })
  await advanceRound(tx, key, { type: 'review-stored' }, at)
  return accept(null)
}
