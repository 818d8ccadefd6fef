import { rm } from 'node:fs/promises'
import { mergeRound } from '../aggregation/merge-round.ts'
import { type Digest, ensureDigest } from '../core/digest.ts'
import { toTapestryError } from '../core/error.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import { MEAN } from '../core/strategy.ts'
import { ContributionService, type Review } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { LanguageEvaluation } from '../model/evaluation-report.ts'
import { reviewReportBytes } from '../model/review-report.ts'
import type { Plan } from '../plan/plan.ts'
import { admissionTo } from './admission.ts'
import type { NodeContext, WorkSignals } from './node-context.ts'
import { comparedLanguages, languagesOf } from './paired-scores.ts'
import type { RoundFolder } from './round-folder.ts'
import { fetchBase, fetchPlan, mostWeightBytes, type Weights } from './round-inputs.ts'
import type { RoundView } from './round-view.ts'
import { printable } from './rpc-error.ts'
import { received, signatureMessage } from './wire.ts'

/** No codec makes a delta more than twice as long: a sparse one has an index beside each value. */
const LONGEST_ENCODING = 2

type Work = {
  readonly view: RoundView
  readonly plan: Plan
  readonly base: Weights
  readonly folder: RoundFolder
  readonly sources: Awaited<ReturnType<typeof admissionTo>>['sources']
}

/**
 * Scores the contributions of other members' nodes that this node is asked about on its own held-out text, and
 * hands in a signed report about each. What was answered before a restart is not asked again.
 * @param onWeights told which weights are in use.
 * @throws TapestryError; the signal's reason.
 */
export async function review(
  node: NodeContext,
  view: RoundView,
  folder: RoundFolder,
  { work: signal, stop }: WorkSignals,
  onWeights: (digest: Digest) => void,
): Promise<void> {
  const { key } = view
  const { reviews } = await node.client.call(ContributionService.method.listReviews, { round: key }, { signal })
  if (reviews.length === 0) return
  await folder.prepare()
  const plan = await fetchPlan(node, view.plan, signal)
  const base = await fetchBase(node, view, plan, { signal, backoff: node.backoff })
  onWeights(base.digest)
  const { sources } = await admissionTo(node, key.run, signal)
  const work = { view, plan, base, folder, sources }
  for (const asked of reviews) {
    const languages = await scoresOf(node, work, asked, signal)
    signal.throwIfAborted()
    await handIn(node, view, received(ensureDigest, asked.contribution), languages, stop)
  }
  node.emit({ type: 'reviewed', key, contributions: reviews.length })
}

/**
 * Nothing when the contribution cannot be scored: that it breaks the model, or is no delta at all, is no reason for
 * this node to stop, and the other reviewers see the same. The delta is deleted in any case.
 */
async function scoresOf(node: NodeContext, work: Work, asked: Review, signal: AbortSignal) {
  const payload = received(ensureDigest, asked.payloadDigest)
  const maxBytes = LONGEST_ENCODING * mostWeightBytes(work.plan)
  const wanted = { digest: payload, maxBytes }
  const delta = await node.cache.fetch(node.client, wanted, { signal, backoff: node.backoff })
  try {
    return await score(node, work, asked, delta, signal)
  } catch (error) {
    const { code } = toTapestryError(error)
    if (signal.aborted || (code !== 'DATA_INVALID' && code !== 'ENGINE_FAILED')) throw error
    return []
  } finally {
    await rm(delta, { force: true })
    await rm(work.folder.reviewedPath, { force: true })
  }
}

async function score(
  node: NodeContext,
  { view, plan, base, folder, sources }: Work,
  asked: Review,
  delta: string,
  signal: AbortSignal,
): Promise<LanguageEvaluation[]> {
  const tags = new Set(asked.languages.map((tag) => received(ensureLanguageTag, tag).toLowerCase()))
  const own = sources.filter(({ language }) => tags.has(language.toLowerCase()))
  if (own.length === 0) return []
  const out = folder.reviewedPath
  const deltas = [{ path: delta, weight: 1 }]
  await mergeRound({ base: base.path, deltas, out, strategy: MEAN, codec: view.codec, signal })
  const weights = [
    { name: 'base', path: base.path },
    { name: 'reviewed', path: out },
  ]
  const [before, after] = await node.trainer.score(
    { plan, weights, sources: own, exclusions: node.policy.exclusions },
    signal,
  )
  return comparedLanguages(languagesOf(before), languagesOf(after)) ?? []
}

async function handIn(
  node: NodeContext,
  { key, base: baseDigest }: RoundView,
  contribution: Digest,
  languages: readonly LanguageEvaluation[],
  signal: AbortSignal,
): Promise<void> {
  const { federation, node: id } = node.client.membership
  const place = { federation, run: key.run, round: key.number, node: id, baseDigest }
  const report = reviewReportBytes({ ...place, contribution, languages })
  const signature = signatureMessage(signMessage(node.nodeKey, DOMAINS.review, report))
  const { submitReview } = ContributionService.method
  const { rejection } = await node.client.call(submitReview, { report, signature }, { signal })
  if (rejection === undefined) return
  const { reason, detail } = rejection
  node.emit({ type: 'refused', key, what: 'review', reason: printable(reason), detail: printable(detail) })
}
