import type { Context, ReleaseSigner } from '../context.ts'
import { canonicalBytes } from '../core/canonical-json.ts'
import type { Millis } from '../core/clock.ts'
import type { Codec } from '../core/codec.ts'
import { DEFAULT_DEMANDS } from '../core/demands.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { ChannelName, RunId } from '../core/ids.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import type { Strategy } from '../core/strategy.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import { makeAttestations } from '../model/attestations.ts'
import { modelCard } from '../model/card.ts'
import { llamaConfigJson } from '../model/llama-config.ts'
import { type Manifest, manifestBytes, parseManifest } from '../model/manifest.ts'
import type { ModelFile } from '../model/model-file.ts'
import type { RoundRules } from '../model/provenance.ts'
import { encodeHeader } from '../model/safetensors.ts'
import type { TensorSpec } from '../model/tensor.ts'
import { tokenizerFiles } from '../model/tokenizer.ts'
import {
  type DeclaredDataset,
  NOT_DECLARED,
  type TrainingContent,
  type TrainingShare,
  trainingContent,
} from '../model/training-content.ts'
import { contentsOf, shardsOf } from '../model/weight-index.ts'
import { initialValues, parameterSpecs } from '../plan/parameters.ts'
import { type Plan, planBytes, planDigest } from '../plan/plan.ts'
import { ensureRunPolicy, type RunPolicy } from '../round/policy.ts'
import type { Blob, BlobStore } from './blob-store.ts'
import type { AttestationRow, CheckpointRow } from './checkpoint-row.ts'
import type { RunRow } from './records.ts'
import type { Tx } from './store.ts'
import { nameWeights, releasedWeights, requireBlob, type StoredWeights } from './weights.ts'

/** Where a checkpoint keeps what its strategy's optimizer remembers; absent for strategies that keep nothing. */
export const OPTIMIZER_FILE = 'optimizer.safetensors'

/** What a run releases under; one that asks nothing of records, under what all did before there were any. */
export function releaseLicence({ demands }: RunPolicy): string {
  return (demands ?? DEFAULT_DEMANDS).licence
}

/** What a checkpoint says about itself besides its files. Holds no time: see Manifest. */
export type CheckpointFacts = Omit<Manifest, 'files' | 'format' | 'federation' | 'plan'>

/** Where a checkpoint comes from, beyond its manifest: what its card and its attestations tell. */
export type CheckpointOrigin = {
  readonly rules: RoundRules
  readonly shares: readonly TrainingShare[]
  readonly datasets: readonly DeclaredDataset[]
}

/** All that a checkpoint is made of. */
export type CheckpointParts = {
  readonly facts: CheckpointFacts
  readonly origin: CheckpointOrigin
  readonly plan: Plan
  /** SPDX id or LicenseRef. */
  readonly licence: string
  readonly tensors: CheckpointTensors
}

/** A checkpoint that nothing refers to yet, with the documents that are recorded with it. */
export type BuiltCheckpoint = { readonly row: CheckpointRow; readonly attestations: readonly AttestationRow[] }

/** A run as its operator asks for it. */
export type NewRun = { readonly id: RunId; readonly policy: RunPolicy; readonly channel: ChannelName }

/** The large parts of a checkpoint. `weights`: the digest that names them. */
export type CheckpointTensors = { readonly weights: Digest; readonly optimizerState: Digest | undefined }

type Publisher = Pick<Context, 'blobs' | 'store' | 'federation'>

/**
 * Makes a checkpoint out of tensors that are already stored: stores its other files, signs its
 * manifest and what attests it. Nothing refers to it until {@link recordCheckpoint}; repeating it
 * gives the same digest and leaves nothing twice: signatures, which differ, are stored with the row alone.
 * @param now says when the row was made, and the day of the training summary: no byte of the checkpoint depends on it.
 * @throws TapestryError NOT_FOUND for tensors that are not stored; DISK_FULL; INVALID_ARGUMENT for facts that make no valid manifest.
 */
export async function buildCheckpoint(
  { blobs, store, federation }: Publisher,
  signer: ReleaseSigner,
  { facts, origin, plan, licence, tensors }: CheckpointParts,
  now: Millis,
): Promise<BuiltCheckpoint> {
  const provider = (await store.reader.federation())?.name ?? NOT_DECLARED
  const source = { ...facts, format: 'tapestry-manifest/1', federation, plan: planDigest(plan) } as const
  const training = trainingContent({ ...facts, ...origin, federation, provider })
  const files = await tensorFiles(blobs, tensors)
  for (const { path, bytes } of smallFiles(source, training, { plan, licence }))
    files.push({ path, ...(await blobs.put(bytes)) })
  const bytes = manifestBytes({ ...source, files })
  const signature = signMessage(signer.key, DOMAINS.manifest, bytes)
  const row: CheckpointRow = {
    digest: digestOf(bytes),
    run: facts.run,
    version: facts.version,
    round: facts.round,
    parent: facts.base,
    manifest: Buffer.from(bytes).toString('utf8'),
    signature,
    files,
    createdAt: now,
  }
  const signed = { manifest: parseManifest(bytes), bytes, signature: canonicalBytes(signature) }
  const { architecture } = plan.spec
  const day = new Date(now).toISOString().slice(0, 'YYYY-MM-DD'.length)
  const documents = makeAttestations(signed, { ...origin, architecture, license: licence, training, day }, signer.key)
  return { row, attestations: documents.map(attestationRow) }
}

async function tensorFiles(blobs: BlobStore, { weights, optimizerState }: CheckpointTensors) {
  const files = await releasedWeights(blobs, weights)
  if (optimizerState !== undefined) files.push({ path: OPTIMIZER_FILE, ...(await requireBlob(blobs, optimizerState)) })
  return files
}

function attestationRow({ path, bytes }: ModelFile): AttestationRow {
  return { path, digest: digestOf(bytes), size: bytes.byteLength, content: Buffer.from(bytes).toString('utf8') }
}

/** Makes a built checkpoint the run's head and lets the run's channel point to it. */
export async function recordCheckpoint(tx: Tx, run: RunRow, built: BuiltCheckpoint, now: Millis): Promise<void> {
  await createCheckpoint(tx, built, now)
  await tx.setRunHead(run.id, built.row.digest)
  await tx.moveChannel(run.channel, built.row.digest, now)
}

async function createCheckpoint(tx: Tx, { row, attestations }: BuiltCheckpoint, now: Millis): Promise<void> {
  await tx.createCheckpoint(row)
  await tx.createAttestations(row.digest, attestations)
  await tx.appendToLedger(releaseEvent(row), now)
}

function releaseEvent({ digest: checkpoint, run, version, round, parent }: CheckpointRow): LedgerEvent {
  return { type: 'release', checkpoint, run, version, round, parent }
}

/**
 * Creates a run together with version 0, whose weights are the plan's initial parameters: blobs
 * first, then one transaction. The channel points to version 0 only if it is new: a run that joins
 * a channel in use must not replace a trained model by noise before its first release.
 * @returns the run; its head is version 0.
 * @throws TapestryError ALREADY_EXISTS for a run of this name; INVALID_ARGUMENT for a policy out of range; DISK_FULL.
 */
export async function publishInitialCheckpoint(
  context: Publisher,
  signer: ReleaseSigner,
  run: NewRun,
  plan: Plan,
  now: Millis,
): Promise<RunRow> {
  const policy = ensureRunPolicy(run.policy)
  refuseExisting(run, await context.store.reader.run(run.id))
  const weights = await storeInitialWeights(context.blobs, plan, policy.shardBytes)
  const facts = { ...initialFacts(run.id, policy.strategy), ...shardMember(policy, weights) }
  const parts = {
    facts,
    origin: UNTRAINED,
    plan,
    licence: releaseLicence(policy),
    tensors: { weights: weights.digest, optimizerState: undefined },
  }
  const checkpoint = await buildCheckpoint(context, signer, parts, now)
  const row: RunRow = {
    id: run.id,
    policy,
    channel: run.channel,
    plan: Buffer.from(planBytes(plan)).toString('utf8'),
    planDigest: planDigest(plan),
    head: checkpoint.row.digest,
    roundsStarted: 0,
    uncounted: 0,
    createdAt: now,
  }
  await context.store.transact('create-run', (tx) => createRun(tx, row, checkpoint, now))
  return row
}

async function createRun(tx: Tx, run: RunRow, checkpoint: BuiltCheckpoint, now: Millis): Promise<void> {
  refuseExisting(run, await tx.run(run.id))
  refuseOtherLicence(run, await tx.runs())
  await tx.createRun(run)
  const { id, planDigest: plan, channel } = run
  const policy = digestOf(canonicalBytes(run.policy))
  await tx.appendToLedger({ type: 'run-created', run: id, plan, policy, channel }, now)
  await createCheckpoint(tx, checkpoint, now)
  if ((await tx.channel(run.channel)) === undefined) await tx.moveChannel(run.channel, run.head, now)
}

function refuseExisting(run: { readonly id: RunId }, found: RunRow | undefined): void {
  if (found !== undefined) throw new TapestryError('ALREADY_EXISTS', `there is already a run ${run.id}`)
}

/** A channel stands for one licence: whoever follows it must not find another behind the same name. */
function refuseOtherLicence(run: RunRow, runs: readonly RunRow[]): void {
  const licence = releaseLicence(run.policy)
  const other = runs.find((one) => one.channel === run.channel && releaseLicence(one.policy) !== licence)
  if (other === undefined) return
  const there = `channel ${run.channel} carries ${releaseLicence(other.policy)}, by run ${other.id}`
  throw new TapestryError('FAILED_PRECONDITION', `${there}: it cannot carry ${licence} too`, {
    hint: 'name another channel for this run',
  })
}

/** A manifest names a codec only where updates were encoded. */
export function codecMember(codec: Codec): Pick<Manifest, 'codec'> {
  return codec.name === 'f32' ? {} : { codec }
}

/** A manifest says how large shards may be only where there are any. */
export function shardMember(
  { shardBytes }: RunPolicy,
  { shards }: Pick<StoredWeights, 'shards'>,
): Pick<Manifest, 'shardBytes'> {
  return shards.length === 0 ? {} : { shardBytes }
}

/** No round and no data made version 0. */
const UNTRAINED: CheckpointOrigin = { rules: null, shares: [], datasets: [] }

function initialFacts(run: RunId, strategy: Strategy): CheckpointFacts {
  const nothing: readonly Digest[] = []
  return { run, version: 0, round: 0, parents: nothing, base: null, strategy, contributions: [], scores: {} }
}

/** Everything but the weights. Small: held in memory. */
function smallFiles(
  source: Omit<Manifest, 'files'>,
  training: TrainingContent,
  { plan, licence }: Pick<CheckpointParts, 'plan' | 'licence'>,
): ModelFile[] {
  const { architecture } = plan.spec
  const name = `${source.run} v${source.version}`
  const card = modelCard(source, { name, license: licence, architecture, training })
  return [
    { path: 'config.json', bytes: llamaConfigJson(architecture, { dtype: 'float32' }) },
    ...tokenizerFiles(),
    { path: 'plan.json', bytes: planBytes(plan) },
    { path: 'README.md', bytes: Buffer.from(card, 'utf8') },
  ]
}

/** Stores the plan's initial parameters, in one file or in shards. */
async function storeInitialWeights(blobs: BlobStore, { spec }: Plan, shardBytes: number): Promise<StoredWeights> {
  const shards = shardsOf(parameterSpecs(spec), shardBytes)
  const files: Blob[] = []
  for (const specs of shards) files.push(await blobs.put(initialWeights(specs, spec.seed)))
  return nameWeights(blobs, shards.map(contentsOf), files)
}

/** A safetensors file of initial parameters, which are in order of name, piece by piece. */
async function* initialWeights(specs: readonly TensorSpec[], seed: number): AsyncGenerator<Uint8Array> {
  // transformers refuses a file that does not name the framework of its layouts.
  yield encodeHeader(specs, { format: 'pt' })
  for (const parameter of specs) {
    for (const values of initialValues(parameter, seed)) {
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    }
  }
}
