import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import type { ScoreTask } from '../engine/messages.ts'
import { ContributionService } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import { evaluationReportBytes, type LanguageEvaluation } from '../model/evaluation-report.ts'
import { admissionTo } from './admission.ts'
import type { NodeContext, WorkSignals } from './node-context.ts'
import { comparedLanguages, languagesOf, type ScoredText } from './paired-scores.ts'
import type { Report, RoundFolder } from './round-folder.ts'
import { fetchBase, fetchCandidate, fetchPlan } from './round-inputs.ts'
import type { RoundView } from './round-view.ts'
import { printable } from './rpc-error.ts'
import { signatureMessage } from './wire.ts'

/**
 * Scores base and candidate on the node's own held-out text and hands in the signed result.
 * @param onWeights told which weights are in use.
 * @returns whether the report was taken.
 * @throws TapestryError; the signal's reason.
 */
export async function evaluate(
  node: NodeContext,
  view: RoundView & { readonly candidate: Digest },
  folder: RoundFolder,
  { work: signal, stop }: WorkSignals,
  onWeights: (digest: Digest) => void,
): Promise<boolean> {
  onWeights(view.candidate)
  const compared = await score(node, view, folder, signal)
  const languages = view.pairedEvidence ? compared : compared.map(({ paired: _, ...means }) => means)
  signal.throwIfAborted()
  const { federation, node: id } = node.client.membership
  const report = evaluationReportBytes({
    federation,
    run: view.key.run,
    round: view.key.number,
    node: id,
    baseDigest: view.base,
    candidateDigest: view.candidate,
    languages,
  })
  const signature = signMessage(node.nodeKey, DOMAINS.evaluation, report)
  const request = { report, signature: signatureMessage(signature) }
  const { rejection } = await node.client.call(ContributionService.method.submitEvaluation, request, { signal: stop })
  if (rejection === undefined) {
    node.emit({ type: 'evaluated', key: view.key, languages })
    return true
  }
  const { reason, detail } = rejection
  node.emit({
    type: 'refused',
    key: view.key,
    what: 'evaluation',
    reason: printable(reason),
    detail: printable(detail),
  })
  return false
}

/** The base was scored before training: only the candidate is new, unless that record is gone or is of other text. */
async function score(
  node: NodeContext,
  view: RoundView & { readonly candidate: Digest },
  folder: RoundFolder,
  signal: AbortSignal,
): Promise<LanguageEvaluation[]> {
  const plan = await fetchPlan(node, view.plan, signal)
  const options = { signal, onProgress: downloading(node, view), backoff: node.backoff }
  const candidate = await fetchCandidate(node, view.candidate, plan, options)
  // Text whose consent ended meanwhile is not even measured on: the others are, and the base with them.
  const { sources } = await admissionTo(node, view.key.run, signal)
  const run = (weights: ScoreTask['weights']) =>
    node.trainer.score({ plan, weights, sources, exclusions: node.policy.exclusions }, signal)
  const [scored] = await run([{ name: 'candidate', files: candidate.files }])
  const report = await folder.readReport()
  const known = report?.base === view.base ? comparedLanguages(beforeOf(report), languagesOf(scored)) : undefined
  if (known !== undefined) return known
  const base = await fetchBase(node, view, plan, options)
  const [scoredBase] = await run([{ name: 'base', files: base.files }])
  const compared = comparedLanguages(languagesOf(scoredBase), languagesOf(scored))
  if (compared !== undefined) return compared
  throw new TapestryError('ENGINE_FAILED', 'base and candidate were not scored on the same text')
}

function downloading(node: NodeContext, { key }: RoundView) {
  return (done: number, total: number) => node.emit({ type: 'downloading', key, done, total })
}

function beforeOf({ languages }: Report): ScoredText[] {
  return languages.map(({ language, community, before, beforeSequences: sequences }) => ({
    language,
    community,
    score: before,
    sequences,
  }))
}
