import { createHmac, createPublicKey } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { canonicalJson } from '../core/canonical-json.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { LanguageTag } from '../core/language-tag.ts'
import { DOMAINS, keyIdOf, signMessage } from '../core/signature.ts'
import { ContributionService, type SubmitContributionResponse } from '../gen/proto/tapestry/v1/contribution_pb.ts'
import type { Receipt } from '../gen/proto/tapestry/v1/ledger_pb.ts'
import { contributionManifestBytes, parseContributionManifest, type RecordUse } from '../model/contribution-manifest.ts'
import { parameterSpecs } from '../plan/parameters.ts'
import type { Plan } from '../plan/plan.ts'
import { objectionToSending } from '../policy/node-policy.ts'
import type { Admission } from './admission.ts'
import { deltaNorm } from './delta-norm.ts'
import { encodeTrained, residualOf, settleResidual } from './encode.ts'
import { digestOfFile } from './file-digest.ts'
import { forgetTakenBack } from './lineage.ts'
import type { NodeContext, WorkSignals } from './node-context.ts'
import type { Pending } from './residual-memory.ts'
import { latestOwnWeights, type Report, type RoundFolder, type Submission } from './round-folder.ts'
import { f32Bytes, fetchBase, fetchPlan, mostWeightBytes } from './round-inputs.ts'
import type { RoundView } from './round-view.ts'
import { printable } from './rpc-error.ts'
import { keepSaid } from './said.ts'
import { decline, takePart } from './take-part.ts'
import type { Trained } from './trainer.ts'
import { uploadArtifact } from './upload.ts'
import { signatureMessage } from './wire.ts'

/** What became of a contribution. `too-late`: the round closed first. `declined`: the node did not hand it in. */
export type Answer = 'accepted' | 'refused' | 'too-late' | 'declined'

/** A coordinator that loses uploads again and again is not fed for ever. */
const MAX_UPLOADS = 3

/**
 * Trains, signs, uploads and submits; each step is stored before the next begins and is not repeated after a crash.
 * @param onWeights told which weights are in use.
 * @throws TapestryError; the signal's reason.
 */
export async function contribute(
  node: NodeContext,
  view: RoundView,
  folder: RoundFolder,
  { work: signal, stop }: WorkSignals,
  onWeights: (digest: Digest) => void,
): Promise<Answer> {
  await folder.prepare()
  const plan = await fetchPlan(node, view.plan, signal)
  const admission = await takePart(node, view, signal)
  if (admission === undefined) return 'declined'
  const work = { view, plan, admission, folder }
  const report = (await usableReport(node, view, folder)) ?? (await train(node, work, signal, onWeights))
  if (!(await mayLeave(node, work, report))) return 'declined'
  const submission = await ensureSubmission(node, view, report, folder)
  for (let uploads = 1; ; uploads++) {
    await upload(node, view, plan, report, folder, signal)
    const response = await submit(node, submission, stop)
    if (response.rejection?.reason !== 'TRUNCATED' || uploads >= MAX_UPLOADS) {
      return conclude(node, view, folder, report, submission, response, stop)
    }
  }
}

/** The report of work that was done before a restart, if it is this round's and the delta is still whole. */
async function usableReport(node: NodeContext, view: RoundView, folder: RoundFolder): Promise<Report | undefined> {
  const report = await folder.readReport()
  if (report === undefined) return undefined
  const found = await digestOfFile(folder.deltaPath).catch(() => undefined)
  const memory = residualOf(node, view)
  const known = memory === undefined || (await memory.has(pendingOf(view, report)))
  const whole = known && found?.digest === report.payload.digest && found.size === report.payload.size
  if (whole && report.base === view.base && report.plan === view.plan) {
    tellTrained(node, view, report, true)
    return report
  }
  await folder.clear()
  return undefined
}

/** A round, and what this node brings to it. */
type Work = {
  readonly view: RoundView
  readonly plan: Plan
  readonly admission: Admission
  readonly folder: RoundFolder
}

async function train(
  node: NodeContext,
  { view, plan, admission, folder }: Work,
  signal: AbortSignal,
  onWeights: (digest: Digest) => void,
): Promise<Report> {
  const { key, codec } = view
  const encoded = codec.name !== 'f32'
  const onProgress = (done: number, total: number) => node.emit({ type: 'downloading', key, done, total })
  await forgetTakenBack(node, view)
  await settleResidual(node, view, signal)
  const base = await fetchBase(node, view, plan, { signal, onProgress, backoff: node.backoff })
  onWeights(base.digest)
  const outDelta = encoded ? folder.trainedPath : folder.deltaPath
  const trained = await node.trainer.train(
    {
      plan,
      baseWeights: base.files,
      sources: admission.sources,
      exclusions: node.policy.exclusions,
      seed: trainingSeed(node, view, plan),
      outDelta,
      elastic: plan.spec.training.elastic && {
        start: await latestOwnWeights(node.directory, key),
        out: folder.elasticPath,
      },
    },
    signal,
    (progress) => node.emit({ type: 'training', key, progress }),
  )
  signal.throwIfAborted()
  const { size } = await stat(outDelta)
  if (size > mostWeightBytes(plan)) {
    throw new TapestryError('ENGINE_FAILED', `the trainer wrote ${size} bytes, more than the plan's tensors`)
  }
  const payload = encoded ? await encodeTrained(node, view, plan, folder) : await digestOfFile(outDelta)
  const { languages, excluded, steps, wallMs } = trained
  const records = recordUses(trained, admission)
  const report: Report = { base: view.base, plan: view.plan, payload, languages, records, excluded, steps, wallMs }
  await folder.writeReport(report)
  tellTrained(node, view, report, false)
  return report
}

/** Tokens by record and language; several communities of a language are one. */
function recordUses({ records }: Trained, { digests }: Admission): RecordUse[] | undefined {
  if (digests === undefined) return undefined
  const uses = new Map<Digest, Map<LanguageTag, number>>()
  for (const { record, language, tokens } of records) {
    const digest = digests.get(record)
    if (digest === undefined) continue
    const used = uses.get(digest) ?? new Map<LanguageTag, number>()
    uses.set(digest, used.set(language, (used.get(language) ?? 0) + tokens))
  }
  const languages = (used: Map<LanguageTag, number>) => [...used].map(([language, tokens]) => ({ language, tokens }))
  return [...uses].map(([digest, used]) => ({ digest, languages: languages(used) }))
}

/** Whether the node's own limits let the delta out. */
async function mayLeave(node: NodeContext, { view, plan, folder }: Work, { payload }: Report): Promise<boolean> {
  const { maxNorm } = node.policy.rules
  const norm = maxNorm === undefined ? 0 : await deltaNorm(folder.deltaPath, parameterSpecs(plan.spec), view.codec)
  const refusal = objectionToSending(node.policy.rules, { bytes: payload.size, norm })
  if (refusal !== undefined) await decline(node, view.key, refusal)
  return refusal === undefined
}

/** Specific to node and turn, so that no two draw their batches alike; the same after a restart and when a round is repeated. */
function trainingSeed(node: NodeContext, { key, turn }: RoundView, plan: Plan): string {
  return digestOf(canonicalJson([plan.spec.seed, key.run, turn, node.client.membership.node]))
}

/**
 * The nonce that the node gives this payload in this round: unpredictable to others, and the same after a restart,
 * so that a round which was interrupted ends in the same checkpoint as one which was not.
 */
function nonceOf({ client, nodeKey }: NodeContext, { key }: RoundView, { base, payload }: Report): string {
  const place = canonicalJson([client.membership.federation, key.run, key.number, base, payload.digest])
  const secret = nodeKey.export({ type: 'pkcs8', format: 'der' })
  return createHmac('sha256', secret).update(`tapestry/nonce/v1\0${place}`).digest('hex').slice(0, 32)
}

/** The signed manifest of a report, made once: what is sent again is the same contribution. */
async function ensureSubmission(
  node: NodeContext,
  view: RoundView,
  report: Report,
  folder: RoundFolder,
): Promise<Submission> {
  const stored = await folder.readSubmission()
  if (stored !== undefined && describes(stored, report) && isOurs(node, stored)) return stored
  const { federation, node: id } = node.client.membership
  const bytes = contributionManifestBytes({
    federation,
    run: view.key.run,
    round: view.key.number,
    node: id,
    baseDigest: report.base,
    payloadDigest: report.payload.digest,
    payloadBytes: report.payload.size,
    nonce: nonceOf(node, view, report),
    languages: report.languages.map(({ beforeSequences: _, ...language }) => language),
    ...(report.records && { records: report.records }),
  })
  const signature = signMessage(node.nodeKey, DOMAINS.contribution, bytes)
  const submission = { manifest: Buffer.from(bytes).toString('utf8'), signature }
  await folder.writeSubmission(submission)
  return submission
}

/** Signed by the key that the node has now; what a retired key signed is refused. */
function isOurs({ nodeKey }: NodeContext, { signature }: Submission): boolean {
  return signature.keyId === keyIdOf(createPublicKey(nodeKey))
}

function describes({ manifest }: Submission, report: Report): boolean {
  const parsed = parseContributionManifest(Buffer.from(manifest, 'utf8'))
  return parsed.ok && parsed.value.payloadDigest === report.payload.digest && parsed.value.baseDigest === report.base
}

async function upload(
  node: NodeContext,
  { key, codec }: RoundView,
  plan: Plan,
  { payload }: Report,
  folder: RoundFolder,
  signal: AbortSignal,
): Promise<void> {
  const onProgress = (done: number, total: number) => node.emit({ type: 'uploading', key, done, total })
  await uploadArtifact(node.client, payload, folder.deltaPath, { signal, onProgress, backoff: node.backoff })
  node.emit({ type: 'uploaded', key, bytes: payload.size, codec, f32Bytes: f32Bytes(plan) })
}

function submit(node: NodeContext, { manifest, signature }: Submission, signal: AbortSignal) {
  const request = { manifest: Buffer.from(manifest, 'utf8'), signature: signatureMessage(signature) }
  return node.client.call(ContributionService.method.submitContribution, request, { signal })
}

async function conclude(
  node: NodeContext,
  view: RoundView,
  folder: RoundFolder,
  report: Report,
  { manifest, signature }: Submission,
  { rejection, receipt }: SubmitContributionResponse,
  signal: AbortSignal,
): Promise<Answer> {
  const { key, base } = view
  const memory = residualOf(node, view)
  const pending = pendingOf(view, report)
  if (rejection?.reason === 'ROUND_CLOSED') {
    await memory?.settle(pending, false)
    return 'too-late'
  }
  // A duplicate: the coordinator already has a contribution of this node, from before this node lost its records.
  if (rejection === undefined || rejection.reason === 'DUPLICATE') {
    const index = await keepReceipt(node, manifest, receipt, signal)
    await keepSaid(node.directory, { kind: 'contribution', text: manifest, signatures: [signature] })
    await folder.writeOutcome({ base, contribution: 'accepted' })
    // What a contribution left out that this node has no record of is not known.
    if (rejection === undefined) await memory?.settle(pending, true)
    else await memory?.forget()
    node.emit({ type: 'accepted', key, contribution: digestOf(manifest), index })
    return 'accepted'
  }
  await folder.writeOutcome({ base, contribution: 'refused' })
  await memory?.settle(pending, false)
  const { reason, detail } = rejection
  node.emit({ type: 'refused', key, what: 'contribution', reason: printable(reason), detail: printable(detail) })
  return 'refused'
}

function pendingOf({ key }: RoundView, { payload }: Report): Pending {
  return { number: key.number, payload: payload.digest }
}

/** @returns where the log records the contribution; undefined when the coordinator sent no receipt. */
async function keepReceipt(
  node: NodeContext,
  manifest: string,
  receipt: Receipt | undefined,
  signal: AbortSignal,
): Promise<number | undefined> {
  const bytes = Buffer.from(manifest, 'utf8')
  const claim = parseContributionManifest(bytes)
  return claim.ok ? node.log.keep(receipt, bytes, claim.value, signal) : undefined
}

function tellTrained(node: NodeContext, { key }: RoundView, report: Report, reused: boolean): void {
  const { languages, steps, wallMs, payload, excluded = { files: 0, documents: 0 } } = report
  node.emit({ type: 'trained', key, languages, steps, wallMs, bytes: payload.size, reused, excluded })
}
