import type { Context, ReleaseSigner } from '../context.ts'
import type { Millis } from '../core/clock.ts'
import type { Codec } from '../core/codec.ts'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { ChannelName, RunId } from '../core/ids.ts'
import { DOMAINS, signMessage } from '../core/signature.ts'
import type { Strategy } from '../core/strategy.ts'
import { modelCard } from '../model/card.ts'
import { llamaConfigJson } from '../model/llama-config.ts'
import { type Manifest, manifestBytes } from '../model/manifest.ts'
import type { ModelFile } from '../model/model-file.ts'
import { encodeHeader, inNameOrder } from '../model/safetensors.ts'
import { tokenizerFiles } from '../model/tokenizer.ts'
import { initialParameters, parameterSpecs } from '../plan/parameters.ts'
import { type Plan, planBytes, planDigest } from '../plan/plan.ts'
import { ensureRunPolicy, type RunPolicy } from '../round/policy.ts'
import type { Blob } from './blob-store.ts'
import type { CheckpointFileRow, CheckpointRow, RunRow } from './records.ts'
import type { Tx } from './store.ts'

/** Where every checkpoint keeps its weights: what rounds train from and merge. */
export const WEIGHTS_FILE = 'model.safetensors'

/** Where a checkpoint keeps what its strategy's optimizer remembers; absent for strategies that keep nothing. */
export const OPTIMIZER_FILE = 'optimizer.safetensors'

/** Merged from contributions to an open base, so released under the project's own terms. */
const LICENSE = 'apache-2.0'

/** What a checkpoint says about itself besides its files. Holds no time: see Manifest. */
export type CheckpointFacts = Omit<Manifest, 'files' | 'format' | 'federation' | 'plan'>

/** A run as its operator asks for it. */
export type NewRun = { readonly id: RunId; readonly policy: RunPolicy; readonly channel: ChannelName }

/** The large files of a checkpoint. */
export type CheckpointTensors = { readonly weights: Blob; readonly optimizerState: Blob | undefined }

type Publisher = Pick<Context, 'blobs' | 'store' | 'federation'>

/**
 * Makes a checkpoint out of tensors that are already stored: stores its other files and signs its
 * manifest. Nothing refers to it until {@link recordCheckpoint}; repeating it gives the same digest
 * and leaves nothing twice.
 * @param now only says when the row was made: no byte of the checkpoint depends on it.
 * @throws TapestryError DISK_FULL; INVALID_ARGUMENT for facts that make no valid manifest.
 */
export async function buildCheckpoint(
  { blobs, federation }: Pick<Publisher, 'blobs' | 'federation'>,
  signer: ReleaseSigner,
  facts: CheckpointFacts,
  plan: Plan,
  { weights, optimizerState }: CheckpointTensors,
  now: Millis,
): Promise<CheckpointRow> {
  const source = { ...facts, format: 'tapestry-manifest/1', federation, plan: planDigest(plan) } as const
  const files: CheckpointFileRow[] = [{ path: WEIGHTS_FILE, ...weights }]
  if (optimizerState !== undefined) files.push({ path: OPTIMIZER_FILE, ...optimizerState })
  for (const { path, bytes } of smallFiles(source, plan)) files.push({ path, ...(await blobs.put(bytes)) })
  const manifest = manifestBytes({ ...source, files })
  return {
    digest: digestOf(manifest),
    run: facts.run,
    version: facts.version,
    round: facts.round,
    parent: facts.base,
    manifest: Buffer.from(manifest).toString('utf8'),
    signature: signMessage(signer.key, DOMAINS.manifest, manifest),
    files,
    createdAt: now,
  }
}

/** Makes a built checkpoint the run's head and lets the run's channel point to it. */
export async function recordCheckpoint(tx: Tx, run: RunRow, checkpoint: CheckpointRow, now: Millis): Promise<void> {
  await tx.createCheckpoint(checkpoint)
  await tx.setRunHead(run.id, checkpoint.digest)
  await tx.moveChannel(run.channel, checkpoint.digest, now)
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
  const weights = await context.blobs.put(initialWeights(plan))
  const facts = initialFacts(run.id, policy.strategy)
  const checkpoint = await buildCheckpoint(context, signer, facts, plan, { weights, optimizerState: undefined }, now)
  const row: RunRow = {
    id: run.id,
    policy,
    channel: run.channel,
    plan: Buffer.from(planBytes(plan)).toString('utf8'),
    planDigest: planDigest(plan),
    head: checkpoint.digest,
    roundsStarted: 0,
    createdAt: now,
  }
  await context.store.transact('create-run', (tx) => createRun(tx, row, checkpoint, now))
  return row
}

async function createRun(tx: Tx, run: RunRow, checkpoint: CheckpointRow, now: Millis): Promise<void> {
  refuseExisting(run, await tx.run(run.id))
  await tx.createRun(run)
  await tx.createCheckpoint(checkpoint)
  if ((await tx.channel(run.channel)) === undefined) await tx.moveChannel(run.channel, checkpoint.digest, now)
}

function refuseExisting(run: { readonly id: RunId }, found: RunRow | undefined): void {
  if (found !== undefined) throw new TapestryError('ALREADY_EXISTS', `there is already a run ${run.id}`)
}

/** A manifest names a codec only where updates were encoded. */
export function codecMember(codec: Codec): Pick<Manifest, 'codec'> {
  return codec.name === 'f32' ? {} : { codec }
}

function initialFacts(run: RunId, strategy: Strategy): CheckpointFacts {
  const nothing: readonly Digest[] = []
  return { run, version: 0, round: 0, parents: nothing, base: null, strategy, contributions: [], scores: {} }
}

/** Everything but the weights. Small: held in memory. */
function smallFiles(source: Omit<Manifest, 'files'>, plan: Plan): ModelFile[] {
  const { architecture } = plan.spec
  const name = `${source.run} v${source.version}`
  const card = modelCard(source, { name, license: LICENSE, architecture })
  return [
    { path: 'config.json', bytes: llamaConfigJson(architecture, { dtype: 'float32' }) },
    ...tokenizerFiles(),
    { path: 'plan.json', bytes: planBytes(plan) },
    { path: 'README.md', bytes: Buffer.from(card, 'utf8') },
  ]
}

/** The safetensors file of the plan's initial parameters, piece by piece. */
async function* initialWeights(plan: Plan): AsyncGenerator<Uint8Array> {
  const specs = inNameOrder(parameterSpecs(plan.spec))
  const values = initialParameters(plan.spec)
  // transformers refuses a file that does not name the framework of its layouts.
  yield encodeHeader(specs, { format: 'pt' })
  for (const { name } of specs) {
    const data = values.get(name)
    if (data === undefined) throw new TapestryError('INTERNAL', `the plan has no initial values for ${name}`)
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  }
}
