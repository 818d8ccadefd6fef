import type { Context } from '../context.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import { DOMAINS, type Signature } from '../core/signature.ts'
import type { SubmitEvaluationRequest } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { type EvaluationReport, parseEvaluationReport } from '../model/evaluation-report.ts'
import type { LanguageKey } from '../model/report-document.ts'
import { advanceRound } from '../store/advance.ts'
import { contributionsIn } from '../store/contributions-in.ts'
import type { EvaluationRow, RoundRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import type { NodePrincipal } from './auth.ts'
import { signatureOf } from './message.ts'
import { authenticateReport, keyOf, recordRefusal } from './submission.ts'

/** Stores a contributor's signed scores of base and candidate on its own held-out text. */
export async function submitEvaluation(context: Context, request: SubmitEvaluationRequest, { node }: NodePrincipal) {
  const signature = signatureOf(request.signature)
  const signed = { bytes: request.report, signature, domain: DOMAINS.evaluation }
  const report = authenticateReport(context, parseEvaluationReport(request.report), signed, node)
  const verdict = report.ok
    ? await context.store.transact('submit-evaluation', (tx) => store(context, tx, report.value, request, signature))
    : report
  if (verdict.ok) return {}
  await recordRefusal(context, 'evaluation', request.report, node.id, verdict.rejection)
  return { rejection: verdict.rejection }
}

async function store(
  context: Context,
  tx: Tx,
  report: EvaluationReport,
  request: SubmitEvaluationRequest,
  signature: Signature,
): Promise<Verdict<null>> {
  const key = keyOf(report)
  const row = await tx.round(key)
  if (row === undefined) return reject('WRONG_ROUND', `there is no round ${key.number} in run ${key.run}`)
  const entry = await tx.rosterEntry(key, report.node)
  if (entry?.standing !== 'accepted')
    return reject('NOT_IN_ROSTER', 'only nodes whose contribution was accepted evaluate')
  if (entry.declined) return reject('NOT_IN_ROSTER', `this node has declined round ${key.number}`)
  // A report that is already stored was answered before: the answer was lost, not the report.
  if (entry.evaluated) return accept(null)
  if (row.round.phase !== 'evaluating') return reject('ROUND_CLOSED', `round ${key.number} is ${row.round.phase}`)
  if (report.candidateDigest !== row.round.candidate || report.baseDigest !== row.round.base) {
    return reject('STALE_BASE', `round ${key.number} compares ${row.round.candidate} with ${row.round.base}`)
  }
  const foreign = await foreignLanguage(tx, report, row)
  if (foreign !== undefined) return reject('INVALID_REPORT', `the node's contribution holds no text of ${foreign}`)
  const now = context.clock.now()
  await tx.putEvaluations(rowsOf(report, request, signature, now))
  await tx.setEvaluated(key, report.node)
  await advanceRound(tx, key, { type: 'evaluation-stored' }, now)
  return accept(null)
}

/** A node speaks only for the languages it contributed: otherwise one node could block any release with a language it made up. */
async function foreignLanguage(
  tx: Tx,
  report: EvaluationReport,
  { key, round }: RoundRow,
): Promise<string | undefined> {
  const own = (await contributionsIn(tx, key, round)).filter(({ node }) => node === report.node)
  const known = new Set(own.flatMap(({ languages }) => languages.map(groupOf)))
  return report.languages.find((one) => !known.has(groupOf(one)))?.language
}

function groupOf({ language, community }: LanguageKey): string {
  return `${language}\0${community}`
}

function rowsOf(
  report: EvaluationReport,
  request: SubmitEvaluationRequest,
  signature: Signature,
  now: number,
): readonly EvaluationRow[] {
  const text = Buffer.from(request.report).toString('utf8')
  return report.languages.map(({ language, community, base, candidate, paired }) => ({
    key: keyOf(report),
    measuredBy: report.node,
    language,
    community,
    base,
    candidate,
    paired: paired ?? null,
    report: { text, signature },
    at: now,
  }))
}
