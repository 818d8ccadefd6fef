import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { mergeRound } from '../aggregation/merge-round.ts'
import { type Digest, ensureDigest, hexOf } from '../core/digest.ts'
import { toTapestryError } from '../core/error.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import { MEAN } from '../core/strategy.ts'
import { ContributionService, type Review } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { LanguageEvaluation } from '../model/evaluation-report.ts'
import { reviewReportBytes } from '../model/review-report.ts'
import type { WeightFiles } from '../model/weight-index.ts'
import type { Plan } from '../plan/plan.ts'
import { admissionTo } from './admission.ts'
import type { NodeContext, WorkSignals } from './node-context.ts'
import { comparedLanguages, languagesOf } from './paired-scores.ts'
import type { RoundFolder } from './round-folder.ts'
import { fetchBase, fetchPlan, mostWeightBytes, type Weights } from './round-inputs.ts'
import type { RoundView } from './round-view.ts'
import { printable } from './rpc-error.ts'
import type { Scored } from './trainer.ts'
import { received, signatureMessage } from './wire.ts'

/** No codec makes a delta more than twice as long: a sparse one has an index beside each value. */
const LONGEST_ENCODING = 2

/** What is at hand while a round is reviewed. */
type Work = {
  readonly node: NodeContext
  readonly view: RoundView
  readonly plan: Plan
  readonly base: Weights
  readonly folder: RoundFolder
  readonly signal: AbortSignal
}

/** Files to score: the base, and the base with one contribution each. */
type Alone = {
  readonly contribution: Digest
  readonly languages: ReadonlySet<string>
  readonly files: WeightFiles
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
  const plan = await fetchPlan(node, view.plan, signal)
  const base = await fetchBase(node, view, plan, { signal, backoff: node.backoff })
  onWeights(base.digest)
  const work = { node, view, plan, base, folder, signal }
  await mkdir(folder.reviewsPath, { recursive: true, mode: 0o700 })
  try {
    const alone: Alone[] = []
    for (const asked of reviews) alone.push(await aloneWith(work, asked))
    const found = await scores(work, alone)
    signal.throwIfAborted()
    for (const [i, { contribution }] of alone.entries()) await handIn(node, view, contribution, found[i] ?? [], stop)
  } finally {
    await rm(folder.reviewsPath, { recursive: true, force: true })
  }
  node.emit({ type: 'reviewed', key, contributions: reviews.length })
}

/** Merges a contribution alone into the base. The delta itself is deleted at once: this node has no further use for it. */
async function aloneWith({ node, view, plan, base, folder, signal }: Work, asked: Review): Promise<Alone> {
  const contribution = received(ensureDigest, asked.contribution)
  const wanted = {
    digest: received(ensureDigest, asked.payloadDigest),
    maxBytes: LONGEST_ENCODING * mostWeightBytes(plan),
  }
  const path = join(folder.reviewsPath, `${hexOf(contribution)}.safetensors`)
  const delta = await node.cache.fetch(node.client, wanted, { signal, backoff: node.backoff })
  try {
    const deltas = [{ path: delta, weight: 1 }]
    await mergeRound({ base: base.files, deltas, out: path, strategy: MEAN, codec: view.codec, signal })
  } catch (error) {
    unlessUnusable(error, signal)
  } finally {
    await rm(delta, { force: true })
  }
  const languages = new Set(asked.languages.map((tag) => received(ensureLanguageTag, tag).toLowerCase()))
  return { contribution, languages, files: [path] }
}

/** All at once, so that the base is scored once; one by one when one of them breaks the scoring. */
async function scores(work: Work, alone: readonly Alone[]): Promise<LanguageEvaluation[][]> {
  const { node, view, plan, base, signal } = work
  const { sources } = await admissionTo(node, view.key.run, signal)
  const own = sources.filter(({ language }) => alone.some(({ languages }) => languages.has(language.toLowerCase())))
  if (own.length === 0) return []
  const weights = [base, ...alone].map(({ files }, i) => ({ name: `${i}`, files }))
  try {
    const task = { plan, weights, sources: own, exclusions: node.policy.exclusions }
    const [before, ...after] = await node.trainer.score(task, signal)
    return alone.map(({ languages }, i) => {
      const shared = (scored: Scored | undefined) =>
        languagesOf(scored).filter(({ language }) => languages.has(language.toLowerCase()))
      return comparedLanguages(shared(before), shared(after[i])) ?? []
    })
  } catch (error) {
    unlessUnusable(error, signal)
    if (alone.length === 1) return []
    const each: LanguageEvaluation[][] = []
    for (const one of alone) each.push(...(await scores(work, [one])))
    return each
  }
}

/**
 * That a contribution breaks the model, or is no delta at all, is no reason for this node to stop: it says nothing
 * about it, and the other reviewers see the same.
 */
function unlessUnusable(error: unknown, signal: AbortSignal): void {
  const { code } = toTapestryError(error)
  if (signal.aborted || (code !== 'DATA_INVALID' && code !== 'ENGINE_FAILED')) throw error
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
